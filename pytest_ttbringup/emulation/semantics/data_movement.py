"""Changes of number format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.typecast", "ttnn.experimental.typecast")
def typecast(call: Call, input_tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
    """Between formats of floating point the rounding to the output's dtype is all there is; integers have TT-NN's own
    rules.
    """
    import ttnn

    if input_tensor.is_floating_point() and storage_dtype(call.output.dtype).is_floating_point:
        return input_tensor
    return golden_values(ttnn.typecast, call, input_tensor, *arguments, **keywords)
