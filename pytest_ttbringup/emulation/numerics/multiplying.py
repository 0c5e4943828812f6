"""The matrix unit's element-wise multiplication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.mantissas import (
    ACTIVATION_ALL,
    ACTIVATION_BITS,
    WEIGHT_ALL,
    WEIGHT_BITS,
    leading_bits,
    to_tf32,
)
from pytest_ttbringup.emulation.numerics.matrix_unit import LARGEST, tame

if TYPE_CHECKING:
    import torch


def multiply(a: torch.Tensor, b: torch.Tensor, *, phases: int, fp32: bool) -> torch.Tensor:
    """Multiply `a` in SrcA by `b` in SrcB, of BF16, a block format or (cut to) TF32, in any shapes that broadcast.

    Each phase adds its part of the product to the destination. An FP32 one has bits enough for all of them, a BF16 one
    rounds each sum. Where an operand is not finite, or above 2 ** 50, the result is the plain product. Source: ttsim,
    `elwmul`.
    """
    import torch

    if fp32:
        if phases == 4:
            return leading_bits(a, WEIGHT_ALL) * leading_bits(b, ACTIVATION_ALL)
        a_high, b_high = leading_bits(a, WEIGHT_BITS), leading_bits(b, ACTIVATION_BITS)
        product = (a_high if phases == 1 else leading_bits(a, WEIGHT_ALL)) * b_high
        if phases < 3:
            return product
        product = product + a_high * (leading_bits(b, ACTIVATION_ALL) - b_high)
        if tame(a) and tame(b):
            return product
        return torch.where((a.abs() < LARGEST) & (b.abs() < LARGEST), product, a * b)  # an infinity cancels out to NaN

    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    a, b = torch.broadcast_tensors(to_tf32(a), to_tf32(b))
    out = torch.zeros(a.shape)
    elementwise.multiply_bf16(*(it.contiguous().view(-1).numpy() for it in (a, b, out)), phases)
    if tame(a) and tame(b):
        return out
    return torch.where((a.abs() < LARGEST) & (b.abs() < LARGEST), out, a * b)
