"""Two tensors that broadcast, as the compiled element-wise loops take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Pair(NamedTuple):
    """What `compiled.elementwise` wants of two operands."""

    a: Any
    """[rows, columns]."""
    b: Any
    """Flat."""
    out: Any
    """[rows, columns], of `result`."""
    row_step: int
    column_step: int
    result: torch.Tensor
    """Of the shape both broadcast to."""


def paired(a: torch.Tensor, b: torch.Tensor) -> Pair:
    """Two operands and room for what is made of them.

    A second operand with one value for each row or column is taken as it is; anything else is written out.
    """
    import torch

    if a.shape == b.shape:
        rows, columns, steps = 1, a.numel(), (0, 1)
    elif b.numel() == 1 and b.dim() <= a.dim():
        rows, columns, steps = 1, a.numel(), (0, 0)
    elif b.shape[-1:] == a.shape[-1:] and b.numel() == b.shape[-1] and b.dim() <= a.dim():
        rows, columns, steps = a.shape[:-1].numel(), a.shape[-1], (0, 1)
    elif b.shape == (*a.shape[:-1], 1):
        rows, columns, steps = a.shape[:-1].numel(), a.shape[-1], (1, 0)
    else:
        a, b = torch.broadcast_tensors(a, b)
        rows, columns, steps = 1, a.numel(), (0, 1)
    result = torch.empty(a.shape)
    flat = (rows, columns)
    return Pair(
        a.contiguous().view(flat).numpy(),
        b.contiguous().view(-1).numpy(),
        result.view(flat).numpy(),
        *steps,
        result,
    )
