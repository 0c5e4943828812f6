"""Softmax of scores with a scale and a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


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
