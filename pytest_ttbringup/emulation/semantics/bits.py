"""Operations on the bits of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch
    import ttnn


@semantics("ttnn.bitcast")
def bitcast(call: Call, input_tensor: torch.Tensor, dtype: ttnn.DataType, **_: Any) -> torch.Tensor:
    """The same bits read as another type of the same width.

    Raises:
        EmulationError: one of the types is a block format, whose bits no single value has.
    """
    source = _torch_type(call, call.argument(0, "input_tensor").dtype)
    return input_tensor.to(source).view(_torch_type(call, dtype))


def _torch_type(call: Call, dtype: ttnn.DataType) -> torch.dtype:
    import torch
    import ttnn

    types = {
        ttnn.bfloat16: torch.bfloat16,
        ttnn.float32: torch.float32,
        ttnn.uint8: torch.uint8,
        ttnn.uint16: torch.uint16,
        ttnn.int32: torch.int32,
        ttnn.uint32: torch.uint32,
    }
    if dtype not in types:
        raise EmulationError(f"{call.name}: {dtype} has no bits of its own; types with: {', '.join(map(str, types))}.")
    return types[dtype]


@semantics("ttnn.bitwise_right_shift")
def bitwise_right_shift(call: Call, input_tensor_a: torch.Tensor, input_tensor_b: Any, **keywords: Any) -> Any:
    """Shift as signed numbers, uint32 too, which fills up with ones (TT-NN's test_binary_int32.py has it so)."""
    import torch
    import ttnn

    unsigned = input_tensor_a.dtype == torch.uint32
    signed = input_tensor_a.view(torch.int32) if unsigned else input_tensor_a
    by = input_tensor_b.int() if isinstance(input_tensor_b, torch.Tensor) else input_tensor_b
    shifted = golden_values(ttnn.bitwise_right_shift, call, signed, by, **keywords)
    return shifted.int().view(torch.uint32) if unsigned else shifted
