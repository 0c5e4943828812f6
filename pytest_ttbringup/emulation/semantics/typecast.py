"""Changes of number format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch
    import ttnn


@semantics("ttnn.typecast", "ttnn.experimental.typecast")
def typecast(call: Call, input_tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
    """To formats of floating point the rounding to the output's dtype is all there is. From these to integers it is the
    kernel's rule, which TT-NN's golden function takes for the host's once values have come from the device. Between
    integers it is the golden function.
    """
    import ttnn

    dtype = call.output.dtype
    if storage_dtype(dtype).is_floating_point:
        return input_tensor.float()
    if input_tensor.is_floating_point():
        return to_integer(input_tensor, dtype)
    if dtype in (ttnn.uint8, ttnn.int8):
        return _low_byte(input_tensor.long(), dtype)
    if not call.arguments:
        return golden_values(ttnn.typecast, call, input_tensor=input_tensor, **keywords)
    return golden_values(ttnn.typecast, call, input_tensor, *arguments, **keywords)


def to_integer(values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Floating point to integers as the vector unit of Wormhole and Blackhole does it, in int64.

    To int32 and uint32 values are truncated, and saturate; NaN counts as an infinity of its sign. To uint16 they are
    rounded to nearest, half up, and saturate the same way. To uint8 and int8 they are truncated and their low byte is
    kept; magnitudes of 2 ** 31 and more, infinities and NaN give 0.

    Source: `calculate_typecast_fp32_to_{int32,uint32,uint16,uint8}` in ckernel_sfpu_typecast.h of the 0.81.1 wheel,
    for both architectures; for uint16 the instructions SFPSWAP (an order of bits, in which NaN of positive sign comes
    last) and SFP_STOCH_RND as Tenstorrent's simulator has them.

    Args:
        values: float32, any shape.
        dtype: an integer format.
    """
    import torch
    import ttnn

    negative = values.signbit()
    if dtype in (ttnn.uint8, ttnn.int8):
        return _low_byte(_truncated(values, 2.0**31, 0), dtype)
    if dtype == ttnn.int32:
        return torch.where(negative, _truncated(values, 2.0**31, -(2**31)), _truncated(values, 2.0**31, 2**31 - 1))
    if dtype == ttnn.uint32:
        return torch.where(negative, 0, _truncated(values, 2.0**32, 2**32 - 1))
    half_up = _truncated(values.double() + 0.5, 2.0**16, 2**16 - 1)
    return torch.where(negative, 0, half_up)


def _truncated(values: torch.Tensor, limit: float, beyond: int) -> torch.Tensor:
    """`values` towards zero, in int64; `beyond` where the magnitude reaches `limit`, or is NaN."""
    import torch

    inside = values.abs() < limit
    return torch.where(inside, torch.where(inside, values, 0).trunc().long(), beyond)


def _low_byte(values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    import ttnn

    return values % 256 if dtype == ttnn.uint8 else (values + 128) % 256 - 128
