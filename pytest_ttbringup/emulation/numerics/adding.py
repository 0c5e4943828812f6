"""The matrix unit's element-wise addition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.mantissas import to_tf32
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16

if TYPE_CHECKING:
    import torch


def add(a: torch.Tensor, b: torch.Tensor, *, fp32: bool) -> torch.Tensor:
    """Add two operands of BF16, a block format or (cut to) TF32, in any shapes that broadcast.

    The smaller operand is aligned to the larger one's exponent and rounded to eleven bits there, ties away from zero.
    The sum is exact in an FP32 destination; a BF16 one rounds it, ties away from zero. Source: ttsim, `elwadd`.
    """
    import torch

    a, b = torch.broadcast_tensors(to_tf32(a), to_tf32(b))
    swap = a.abs() < b.abs()
    larger, smaller = torch.where(swap, b, a), torch.where(swap, a, b)
    # 1.5 * 2 ** 13 times the larger's power of two: adding and subtracting it leaves eleven bits of the smaller
    shift = ((larger.view(torch.int32) & 0x7F800000) + ((13 << 23) | 0x400000)).view(torch.float32)
    shift = shift.nan_to_num_(0.0)  # from 2 ** 115 on it is out of range, and the plain sum has to do
    aligned = (smaller * (1 + 2.0**-14) + shift) - shift  # the factor makes ties go away from zero
    total = larger + aligned
    return total if fp32 else to_bfloat16(total)
