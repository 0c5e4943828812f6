"""The device's number formats, as functions from values to the values that a tensor of that format would hold.

Everything is kept in the arithmetic type that holds a format exactly: float32 for bfloat16, bfloat8_b, bfloat4_b and
float32, the integer type of the same name for integers.

Rounding is that of the device. For bfloat16 that is the host's, to nearest even. For the block formats it is not: the
device's packer rounds ties away from zero (all of 24576 elements of a bfloat16 to bfloat8_b typecast on Tenstorrent's
simulator), TT-NN's host packer to even, which `ttnn.from_torch` uses and the emulated device leaves to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    import ttnn

_BLOCK = 16
"""Values that share an exponent in bfloat8_b and bfloat4_b: one row of a 16x16 face."""


def storage_dtype(dtype: ttnn.DataType) -> torch.dtype:
    """The torch type in which values of a TT-NN `dtype` are kept."""
    import torch
    import ttnn

    integers = {
        ttnn.uint8: torch.uint8,
        ttnn.int8: torch.int8,
        ttnn.uint16: torch.uint16,
        ttnn.int32: torch.int32,
        ttnn.uint32: torch.uint32,
    }
    return integers.get(dtype, torch.float32)


def round_to(values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """`values` as a tensor of TT-NN type `dtype` holds them, same shape, in `storage_dtype(dtype)`.

    May return `values` itself when nothing changes. Floats become integers by truncation; integers out of range wrap.

    Raises:
        KeyError: `dtype` has no rule here.
    """
    import torch
    import ttnn

    if dtype == ttnn.bfloat16:
        return values.to(torch.bfloat16).to(torch.float32)
    if dtype == ttnn.float32:
        return values.to(torch.float32)
    if dtype == ttnn.bfloat8_b:
        return block_float(values.to(torch.float32), mantissa_bits=7)
    if dtype == ttnn.bfloat4_b:
        return block_float(values.to(torch.float32), mantissa_bits=3)
    target = storage_dtype(dtype)
    if target == torch.float32:
        raise KeyError(f"no rounding rule for {dtype}")
    if values.dtype == target:
        return values
    return values.to(torch.int64).to(target)


def block_float(values: torch.Tensor, *, mantissa_bits: int) -> torch.Tensor:
    """Round float32 `values` [..., W] to blocks of 16 along the last dimension with one shared exponent.

    A block's exponent is that of its largest magnitude. Every value keeps a sign and `mantissa_bits` bits, the topmost
    standing for that exponent; the rest is rounded to nearest, ties away from zero, and a value that would round up
    past the largest mantissa stays at it. Denormals count as zero.
    """
    import torch

    if not values.dim():
        return block_float(values.reshape(1), mantissa_bits=mantissa_bits).reshape(())
    width = values.shape[-1]
    padded = torch.nn.functional.pad(values, (0, -width % _BLOCK)) if width % _BLOCK else values
    blocks = padded.reshape(*padded.shape[:-1], -1, _BLOCK)
    magnitudes = blocks.abs()
    peaks = magnitudes.amax(dim=-1, keepdim=True)
    tops = (peaks.view(torch.int32) & _EXPONENT).view(torch.float32)  # 2 ** exponent; 0 for zeros and denormals
    scales = tops.clamp(2.0**_LEAST, 2.0**_MOST)
    limit = float(2**mantissa_bits - 1)
    if bool(((tops == scales) | (tops == 0)).all()):
        units = scales * 2.0 ** (1 - mantissa_bits)  # zero blocks: any will do
        mantissas = _nearest(magnitudes.div_(units)).clamp_(max=limit)
        rounded = mantissas.mul_(units).copysign_(blocks).reshape(padded.shape)
    else:
        shift = (peaks.view(torch.int32) >> 23) - 127 - (mantissa_bits - 1)  # the unit is 2 ** shift
        normal = torch.where(magnitudes < torch.finfo(torch.float32).tiny, 0.0, magnitudes)
        mantissas = _nearest(torch.ldexp(normal, -shift)).clamp_(max=limit)
        rounded = torch.ldexp(mantissas, shift).copysign_(blocks).reshape(padded.shape)
    return rounded[..., :width] if width % _BLOCK else rounded


def significant_bits(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Round float32 `values` to so many significant bits (the leading one included), each for itself, ties away from
    zero.
    """
    import torch

    dropped = 24 - bits
    return ((values.contiguous().view(torch.int32) + (1 << (dropped - 1))) & -(1 << dropped)).view(torch.float32)


_EXPONENT = 0x7F800000
"""The bits of a float32 number's exponent."""

_LEAST, _MOST = -111, 113
"""Exponents between which the unit and what it divides are normal float32 numbers, so that division scales exactly."""

_HALF = 0.5 - 2.0**-25
"""The greatest number below one half: added to just less than a half, one half itself would give 1."""


def _nearest(magnitudes: torch.Tensor) -> torch.Tensor:
    """To the nearest integer, ties up; exact from 0 up to 2 ** 22. Changes `magnitudes`."""
    return magnitudes.add_(_HALF).floor_()
