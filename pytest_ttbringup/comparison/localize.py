"""Where two tensors differ: named axes, PCC along an axis, worst tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_ttbringup.comparison import operands
from pytest_ttbringup.comparison.metrics import moments
from pytest_ttbringup.comparison.operands import Float64, Operand, operand_pair
from pytest_ttbringup.errors import BringupError

if TYPE_CHECKING:
    import numpy.typing as npt

TILE = 32
# From this PCC on the scale of a slice is more than noise.
_GOOD_FIT = 0.99


@dataclass(frozen=True)
class Axes:
    """Names for the dimensions of a tensor.

    names: one per dimension of shape, None where a dimension has no name. shape: the tensor's own, except that a
    dimension given as "head=9 dim" is split into its parts.
    """

    names: tuple[str | None, ...]
    shape: tuple[int, ...]

    @classmethod
    def resolve(cls, axes: Sequence[str | None] | None, shape: tuple[int, ...]) -> Axes:
        """Match axes to a shape: one entry per dimension, None for no name.

        Names are "user", "head", "position", "dim" or any other word.

        "head=9 dim" names the two parts of a fused dimension, slowest first; all parts but one carry their length.
        Raises BringupError when the number of entries or a length does not fit.
        """
        if axes is None:
            return cls((None,) * len(shape), shape)
        if isinstance(axes, str) or len(axes) != len(shape):
            raise BringupError(
                f"axes must name every dimension of shape {list(shape)}, None for those to ignore; got {axes!r}."
            )
        names: list[str | None] = []
        lengths: list[int] = []
        for entry, length in zip(axes, shape, strict=True):
            for name, part in _parts(entry, length):
                names.append(name)
                lengths.append(part)
        return cls(tuple(names), tuple(lengths))

    def label(self, axis: int) -> str:
        """Return the axis in words."""
        return self.names[axis] or f"axis {axis}"

    def where(self, flat_index: int) -> str:
        """Return a flat index (C order) in words: "user 17, head 4, dim 55", or "[0, 17]" when nothing is named."""
        index = [int(i) for i in np.unravel_index(flat_index, self.shape)]
        if not any(self.names):
            return str(index)
        shown = (axis for axis, length in enumerate(self.shape) if self.names[axis] or length > 1)
        return ", ".join(
            f"{self.label(axis)} {index[axis]}" if self.names[axis] else f"{self.label(axis)} at {index[axis]}"
            for axis in shown
        )

    def telling(self) -> list[int]:
        """Return the named axes whose slices are worth a PCC of their own: not the features, and longer than 1."""
        return [axis for axis, name in enumerate(self.names) if name and name != "dim" and self.shape[axis] > 1]


@dataclass(frozen=True)
class Slices:
    """Fits of the slices along one axis. pcc, scale: one per slice, nan where undefined."""

    pcc: Float64
    scale: Float64

    def wrong(self, floor: float) -> npt.NDArray[np.intp]:
        """Return the slices with a PCC below floor, and those with a good PCC but a scale 0.1 off the others'."""
        fitted = self.pcc >= _GOOD_FIT
        usual = np.median(self.scale[fitted]) if fitted.any() else 1.0
        return np.flatnonzero(~(self.pcc >= floor) | (fitted & (np.abs(self.scale - usual) > 0.1)))


@dataclass(frozen=True)
class Tile:
    """The 32x32 tile with the greatest squared error. share: its part of the tensor's squared error, 0 to 1.

    leading: index of the tile's matrix among the leading dimensions. row, column: of its first element.
    """

    leading: tuple[int, ...]
    row: int
    column: int
    share: float
    count: int


def pcc_by_axis(actual: object, expected: object, axis: int) -> Float64:
    """Return the PCC of every slice along one axis: one float64 per slice, nan for a slice that has none.

    Raises BringupError if the shapes differ or the axis does not exist.
    """
    first, second = operand_pair(actual, expected)
    if not -len(first.shape) <= axis < len(first.shape):
        raise BringupError(f"axis {axis} does not exist in shape {list(first.shape)}.")
    return fit_slices(first, second, axis).pcc


def fit_slices(actual: Operand, expected: Operand, axis: int) -> Slices:
    """Return PCC and scale of every slice along one axis: many short slices are taken at once, a long one in blocks."""
    a = actual.view(np.moveaxis(actual.data, axis, 0))
    e = expected.view(np.moveaxis(expected.data, axis, 0))
    count = a.shape[0]
    length = max(1, a.size // max(1, count))
    if length >= operands.BLOCK:
        fits = [moments(a.view(a.data[i]), e.view(e.data[i])) for i in range(count)]
        return Slices(np.array([fit.pcc for fit in fits]), np.array([fit.scale for fit in fits]))
    pcc, scale = np.empty(count), np.empty(count)
    rows = operands.BLOCK // length
    for start in range(0, count, rows):
        part = (slice(start, start + rows),)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            x, y = centred_rows(a.float64(part)), centred_rows(e.float64(part))
            xx, yy, xy = (np.einsum("ij,ij->i", u, v) for u, v in ((x, x), (y, y), (x, y)))
            squared = (xy / xx) * (xy / yy)
            scale[part] = xy / yy
        pcc[part] = np.copysign(np.minimum(1.0, np.sqrt(squared)), xy)
    return Slices(pcc, scale)


def worst_tile(actual: Operand, expected: Operand) -> Tile | None:
    """Return the 32x32 tile, of the last two dimensions, with the greatest squared error; None if there is no error."""
    shape = (1,) * (2 - len(actual.shape)) + actual.shape
    a, e = actual.view(actual.data.reshape(shape)), expected.view(expected.data.reshape(shape))
    row_starts, column_starts = np.arange(0, shape[-2], TILE), np.arange(0, shape[-1], TILE)
    worst, place, total = 0.0, None, 0.0
    strip = max(1, operands.BLOCK // (shape[-1] * TILE)) * TILE
    for leading in np.ndindex(shape[:-2]):
        for start in range(0, shape[-2], strip):
            index = (*leading, slice(start, start + strip))
            squares = np.square(a.float64(index) - e.float64(index))
            tiles = np.add.reduceat(squares, np.arange(0, squares.shape[0], TILE), axis=0)
            tiles = np.add.reduceat(tiles, column_starts, axis=1)
            total += float(tiles.sum())
            row, column = divmod(int(tiles.argmax()), tiles.shape[1])
            if tiles[row, column] > worst:
                worst, place = float(tiles[row, column]), (leading, start + row * TILE, column * TILE)
    if place is None:
        return None
    count = math.prod(shape[:-2]) * len(row_starts) * len(column_starts)
    return Tile(*place, share=worst / total, count=count)


def centred_rows(values: Float64) -> Float64:
    """Return values as [rows, rest] with the mean of every row taken off, in place; exactly 0 for a constant row."""
    rows = values.reshape(len(values), -1)
    rows -= rows[:, :1].copy()
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def _parts(entry: str | None, length: int) -> list[tuple[str | None, int]]:
    if entry is None or (" " not in entry and "=" not in entry):
        return [(entry, length)]
    parts: list[tuple[str, int]] = []
    for word in entry.split():
        name, _, size = word.partition("=")
        if not name or (size and (not size.isdecimal() or int(size) < 1)):
            raise BringupError(f"axes entry {entry!r} is not understood. Write for example 'head=9 dim'.")
        parts.append((name, int(size or 0)))
    known = math.prod(size for _, size in parts if size)
    open_parts = sum(1 for _, size in parts if not size)
    if open_parts > 1 or length % known or (open_parts == 0 and known != length):
        raise BringupError(
            f"axes entry {entry!r} does not fit a dimension of length {length}; all parts but one need a length."
        )
    return [(name, size or length // known) for name, size in parts]
