"""The packer: from the destination register to a tensor's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.formats import block_float, significant_bits
from pytest_ttbringup.emulation.numerics.broadcasting import flat
from pytest_ttbringup.emulation.numerics.mantissas import leading_bits

if TYPE_CHECKING:
    import torch
    import ttnn


def to_bfloat16(values: torch.Tensor) -> torch.Tensor:
    """An FP32 destination packed as BF16: ties away from zero (ttsim, PACR, intermediate format 5)."""
    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    *arrays, result = flat(values)
    elementwise.round_away(*arrays)
    return result


def to_bfloat16_in_place(values: torch.Tensor) -> torch.Tensor:
    """The same of contiguous values that nobody else holds: room for as many again costs more than the rounding."""
    from pytest_ttbringup.emulation.numerics.compiled import elementwise

    array = values.numpy().reshape(-1)
    elementwise.round_away(array, array)
    return values


def to_bfloat16_even(values: torch.Tensor) -> torch.Tensor:
    """BF16 as the vector unit rounds it, and the packer where it adds in L1: ties to even."""
    import torch

    return values.to(torch.bfloat16).float()


def to_bfloat8_b(values: torch.Tensor) -> torch.Tensor:
    """A destination packed as bfp8_b by a matmul or FPU kernel: rounded twice.

    The packer first makes it BF16 by cutting, then rounds to seven significant bits, ties away from zero; then every
    value to its block's unit, ties away from zero again (ttsim, PACR, intermediate format 6).
    """
    return block_float(significant_bits(leading_bits(values, 8), 7), mantissa_bits=7)


def to_bfloat4_b(values: torch.Tensor) -> torch.Tensor:
    """As `to_bfloat8_b`, and then all but the first three mantissa bits cut off (ttsim, PACR)."""
    return cut_to_bfloat4_b(to_bfloat8_b(values))


def cut_to_bfloat4_b(values: torch.Tensor) -> torch.Tensor:
    """Values of bfp8_b blocks [..., W], all but the first three mantissa bits of their block's unit cut off."""
    import torch

    width = values.shape[-1]
    padded = torch.nn.functional.pad(values, (0, -width % 16))
    blocks = padded.reshape(*padded.shape[:-1], -1, 16)
    exponent = torch.frexp(blocks.abs().amax(dim=-1, keepdim=True)).exponent  # the largest is below 2 ** exponent
    return torch.ldexp(torch.ldexp(blocks, 3 - exponent).trunc(), exponent - 3).reshape(padded.shape)[..., :width]


def pack(values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """What a matmul or FPU kernel writes of an FP32 or BF16 destination into a tensor of `dtype`.

    Exact for a BF16 destination, too, whose values every rule here takes as they are, and for what is packed already.
    Integers are left alone.
    """
    import ttnn

    rules = {ttnn.bfloat16: to_bfloat16, ttnn.bfloat8_b: to_bfloat8_b, ttnn.bfloat4_b: to_bfloat4_b}
    rule = rules.get(dtype)
    return values if rule is None else rule(values)
