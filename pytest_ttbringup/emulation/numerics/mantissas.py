"""What of an operand's mantissa reaches the multipliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WEIGHT_BITS = 5
"""Significant bits, the implicit one included, that a multiplier takes of SrcA in one phase: a matmul's weights (ISA
documentation, MVMUL)."""

ACTIVATION_BITS = 7
"""The same of SrcB: a matmul's activations."""

WEIGHT_ALL, ACTIVATION_ALL = 10, 11
"""What all phases together take: of TF32's eleven significant bits, SrcA's last is ignored."""


def leading_bits(values: torch.Tensor, bits: int) -> torch.Tensor:
    """The first `bits` significant bits of each value, the implicit one included; the rest is cut off, not rounded."""
    import torch

    return (values.contiguous().view(torch.int32) & -(1 << (24 - bits))).view(torch.float32)


def to_tf32(values: torch.Tensor) -> torch.Tensor:
    """FP32 as the source registers hold it: eleven significant bits, the rest cut off (ttsim, unpacker to SrcA/B)."""
    return leading_bits(values, 11)


def weight_parts(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights as the sum of what even phases multiply (five bits) and what odd phases do (the next five)."""
    high = leading_bits(values, WEIGHT_BITS)
    return high, leading_bits(values, WEIGHT_ALL) - high


def activation_parts(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations as the sum of what phases 0 and 1 multiply (seven bits) and what 2 and 3 do (the next four)."""
    high = leading_bits(values, ACTIVATION_BITS)
    return high, leading_bits(values, ACTIVATION_ALL) - high
