"""Rotary position embedding, as its kernel takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.multiplying import multiply
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16

if TYPE_CHECKING:
    import torch


def rotate(
    x: torch.Tensor, rotated: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, config: KernelConfig
) -> torch.Tensor:
    """X * cos + rotated * sin; both products are packed to BF16 in between, and the sum is, too.

    `rotated` is x times a matrix of zeros, ones and minus ones, which changes no bit. Source: the wheel's
    `rotary_embedding_llama*.cpp`; the simulator's bits agree.
    """
    sides = [to_bfloat16(multiply(*it, phases=config.phases, fp32=config.fp32)) for it in ((x, cos), (rotated, sin))]
    return to_bfloat16(add(*sides, fp32=config.fp32))
