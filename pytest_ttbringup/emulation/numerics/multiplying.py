"""The matrix unit's element-wise multiplication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.broadcasting import paired

if TYPE_CHECKING:
    import torch


def multiply(a: torch.Tensor, b: torch.Tensor, *, phases: int, fp32: bool) -> torch.Tensor:
    """Multiply `a` in SrcA by `b` in SrcB, of BF16, a block format or (cut to) TF32, in any shapes that broadcast.

    Each phase adds its part of the product to the destination. An FP32 one has bits enough for all of them, a BF16 one
    rounds each sum. Where an operand is not finite, or above 2 ** 50, the result is the plain product. Source: ttsim,
    `elwmul`.
    """
    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    *arrays, result = paired(a, b)
    (elementwise.multiply_fp32 if fp32 else elementwise.multiply_bf16)(*arrays, phases)
    return result
