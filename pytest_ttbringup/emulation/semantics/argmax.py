"""`ttnn.argmax`, with a word about NaN."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.errors import EmulationWarning
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.argmax")
def argmax(call: Call, input_tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
    """Where the greatest value is, the first of several.

    NaN counts as the greatest, as in PyTorch and on the device, whose kernel compares the bits of bfloat16 as sign and
    magnitude (`bfloat16_greater` in TT-NN's argmax kernels). NaN beside numbers is warned of, since its index looks
    like a token. A row that is NaN throughout is not: such are the rows of users that a decode step skips (position
    -1), and nobody reads those.
    """
    import ttnn

    found = golden_values(ttnn.argmax, call, input_tensor, *arguments, **keywords)
    if input_tensor.is_floating_point() and bool(input_tensor.sum().isnan()) and _is_fault(input_tensor.isnan()):
        warnings.warn(
            f"{call.name}: {int(input_tensor.isnan().sum())} of {input_tensor.numel()} inputs are NaN, which counts as "
            "the greatest; the index says nothing then. Look for the operation that made it.",
            EmulationWarning,
            stacklevel=2,
        )
    return found


def _is_fault(undefined: torch.Tensor) -> bool:
    """Whether a row has NaN beside numbers."""
    return bool((undefined.any(dim=-1) & ~undefined.all(dim=-1)).any())
