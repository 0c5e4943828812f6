"""Softmax, also of scores with a scale and a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.softmax")
def softmax(
    call: Call,
    input_tensor: torch.Tensor,
    dim: int = -1,
    *,
    compute_kernel_config: Any = None,
    numeric_stable: bool = True,
    **keywords: Any,
) -> Any:
    """Over dimension `dim`; of all but the last, TT-NN's kernels are others, with no rules of their own here."""
    import ttnn

    if dim in (-1, input_tensor.dim() - 1):
        own = arithmetic().softmax(
            input_tensor,
            stable=numeric_stable,
            fp32=call.output.dtype == ttnn.float32,
            output=call.output,
            compute_kernel_config=compute_kernel_config,
        )
        if own is not None:
            return own
    return golden_values(ttnn.softmax, call, input_tensor, dim, **keywords)


@semantics(
    "ttnn.scale_mask_softmax",
    "ttnn.scale_mask_softmax_in_place",
    "ttnn.scale_causal_mask_hw_dims_softmax_in_place",
)
def scale_mask_softmax(
    input_tensor: torch.Tensor,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
    *,
    is_causal_mask: bool = False,
    **_: Any,
) -> torch.Tensor:
    """softmax(x * scale + mask) over the last dimension.

    The first row of a mask counts for all rows of x, and the rest of its tile for none (TT-NN takes a height of 1 or of
    a tile; its test_softmax_interleaved.py). A row-major mask may hold
    its row in pieces of 32. A causal mask counts again for every head that the rows of x hold.
    """
    import torch

    x = input_tensor if scale is None else input_tensor * scale
    if mask is not None:
        if mask.shape[-1] != x.shape[-1]:
            mask = mask.flatten(-2).unsqueeze(-2)
        rows = mask.shape[-2]
        if is_causal_mask and x.shape[-2] % rows == 0:
            mask = mask.repeat(*([1] * (mask.dim() - 2)), x.shape[-2] // rows, 1)
        else:
            mask = mask[..., :1, :]
        x = x + mask
    return torch.softmax(x, dim=-1)
