"""Tensors as the compiled element-wise loops take them: NumPy's views are had in less time than PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Pair(NamedTuple):
    """What `compiled.elementwise` wants of two operands that broadcast."""

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

    rows, row_step, column_step = 1, 0, 1
    if a.shape != b.shape:
        size, columns = b.numel(), a.shape[-1] if a.dim() else 1
        whole = b.dim() <= a.dim()
        if whole and size == 1:
            column_step = 0
        elif whole and size == columns and b.shape[-1] == columns:
            rows = a.numel() // columns
        elif whole and b.shape[-1] == 1 and a.shape[:-1] == b.shape[:-1]:
            rows, row_step, column_step = size, 1, 0
        else:
            a, b = torch.broadcast_tensors(a, b)
    out, result = room(a)
    flat = (rows, a.numel() // rows)
    return Pair(
        a.contiguous().numpy().reshape(flat),
        b.contiguous().numpy().reshape(-1),
        out.reshape(flat),
        row_step,
        column_step,
        result,
    )


def room(like: torch.Tensor) -> tuple[Any, torch.Tensor]:
    """An array of a tensor's shape to be filled with float32, and the tensor that it will be."""
    import numpy as np
    import torch

    out = np.empty(like.shape, np.float32)
    return out, torch.from_numpy(out)


def flat(values: torch.Tensor) -> tuple[Any, Any, torch.Tensor]:
    """Values and room for as many, both as flat arrays, and the tensor that the latter will be."""
    out, result = room(values)
    return values.contiguous().numpy().reshape(-1), out.reshape(-1), result
