"""The matrix unit's element-wise addition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.broadcasting import paired

if TYPE_CHECKING:
    import torch


def add(a: torch.Tensor, b: torch.Tensor, *, fp32: bool) -> torch.Tensor:
    """Add two operands of BF16, a block format or (cut to) TF32, in any shapes that broadcast.

    The smaller operand is aligned to the larger one's exponent and rounded to eleven bits there, ties away from zero.
    The sum is exact in an FP32 destination; a BF16 one rounds it, ties away from zero. Source: ttsim, `elwadd`.
    """
    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    *arrays, result = paired(a, b)
    elementwise.add(*arrays, fp32)
    return result
