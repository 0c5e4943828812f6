"""One buffer of tiles seen in two shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SIDE = 32
"""Rows and columns of a tile."""


def regrouped(values: torch.Tensor, heads: int, rows: int, columns: int) -> torch.Tensor:
    """[N, K, S, h] -> [N, heads, rows, columns] with the same tiles in the same order in memory.

    All sizes of rows and columns are whole tiles, and both shapes hold equally many.
    """
    blocks, own_heads, own_rows, own_columns = values.shape
    grid = (own_rows // _SIDE, _SIDE, own_columns // _SIDE, _SIDE)
    tiles = values.reshape(blocks, own_heads, *grid).transpose(3, 4).reshape(blocks, -1, _SIDE, _SIDE)
    grid = (rows // _SIDE, columns // _SIDE, _SIDE, _SIDE)
    return tiles.reshape(blocks, heads, *grid).transpose(3, 4).reshape(blocks, heads, rows, columns)
