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
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    operands = torch.broadcast_tensors(x, rotated, cos, sin)
    out, result = room(operands[0])
    arrays = (it.contiguous().numpy().reshape(-1) for it in operands)
    elementwise.rotate(*arrays, out.reshape(-1), config.phases, config.fp32)
    return result
