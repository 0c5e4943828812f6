"""Rotary position embedding, as its kernel takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.broadcasting import room
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig

if TYPE_CHECKING:
    import torch


def rotate(
    x: torch.Tensor, rotated: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, config: KernelConfig
) -> torch.Tensor:
    """X * cos + rotated * sin; both products are packed to BF16 in between, and the sum is, too.

    `rotated` is x times a matrix of zeros, ones and minus ones, which changes no bit. Source: the wheel's
    `rotary_embedding_llama*.cpp`; the simulator's bits agree.
    """
    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    out, result = room(x)
    one_for_all_heads = cos.shape == sin.shape == (*x.shape[:-2], 1, x.shape[-1])  # in decode
    if not one_for_all_heads:
        cos, sin = cos.expand(x.shape), sin.expand(x.shape)
    rows = cos.shape[:-1].numel()
    arrays = (it.contiguous().numpy().reshape(rows, -1) for it in (x, rotated, cos, sin))
    elementwise.rotate(*arrays, out.reshape(rows, -1), config.phases, config.fp32)
    return result
