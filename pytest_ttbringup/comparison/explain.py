"""The lines of a failure message: how much differs, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_ttbringup.comparison.localize import TILE, worst_tile
from pytest_ttbringup.comparison.metrics import Errors, Moments, moments
from pytest_ttbringup.comparison.operands import Operand, block_indices
from pytest_ttbringup.reporting.figures import pcc_figure

if TYPE_CHECKING:
    from pytest_ttbringup.comparison.formats import Tolerance
    from pytest_ttbringup.comparison.localize import Axes, Slices

_SHOWN_SLICES = 4


@dataclass(frozen=True)
class Measured:
    """Two finite tensors of one shape with everything measured on all their elements."""

    actual: Operand
    expected: Operand
    axes: Axes
    overall: Moments
    errors: Errors
    tolerance: Tolerance


def number(value: float) -> str:
    """Write a value in three significant digits."""
    return f"{value:.3g}"


def pcc_text(pcc: float, threshold: float, digits: int = 5) -> str:
    """Write a PCC with enough digits to show that it is below the threshold, if it is."""
    text = f"{pcc:.{digits}f}"
    while pcc < threshold <= float(text) and digits < 17:
        digits += 1
        text = f"{pcc:.{digits}f}"
    return text


def fit_text(overall: Moments, found: Errors) -> str:
    """Write the scale and offset that PCC does not see, and the relative L2 error."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    offset = round(overall.offset, 3) + 0.0
    return f"scale {overall.scale:.3f}, offset {offset:.3f}, relative L2 {number(found.relative_l2)}"


def difference_lines(measured: Measured, slices: dict[int, Slices], floor: float) -> list[str]:
    """Return the lines for a failed comparison. slices: fits by axis; floor: the PCC of a right slice."""
    axes, found, overall = measured.axes, measured.errors, measured.overall
    # Counting elements beyond tolerance and then showing one within it would contradict itself.
    at = found.furthest_at if found.beyond else found.max_abs_at
    output, reference = float(measured.actual.at(at)), float(measured.expected.at(at))
    allowed = measured.tolerance.atol + measured.tolerance.rtol * abs(reference)
    share = f"{found.beyond} of {found.elements} elements ({100 * found.share_beyond:.1f} %)"
    shown = (
        f"|difference| {number(abs(output - reference))} at {axes.where(at)}; allowed {number(allowed)} "
        f"(output {number(output)}, reference {number(reference)})"
    )
    lines = [_line("beyond tolerance", share), _line("furthest beyond" if found.beyond else "greatest", shown)]
    # Where one axis tells right slices from wrong ones, an axis along which all are wrong tells nothing more.
    telling = {axis: fits for axis, fits in slices.items() if len(fits.wrong(floor)) < axes.shape[axis]} or slices
    for axis, fits in telling.items():
        lines.append(_line(f"by {axes.label(axis)}", _slices_text(axes.label(axis), fits, floor)))
    lines += _tile_lines(measured.actual, measured.expected)
    return [*lines, f"{fit_text(overall, found)}; no NaN or inf"]


def nonfinite_lines(actual: Operand, expected: Operand, axes: Axes) -> tuple[str, list[str], str]:
    """Return (finding, lines, where) for tensors of which one holds NaN or inf, or overflows sums in float64."""
    output, reference = _count_nonfinite(actual), _count_nonfinite(expected)
    if not output.count + reference.count:
        return "PCC undefined: the squares of the values leave float64's range", [], ""
    side, operand, bad = ("output", actual, output) if output.count else ("reference", expected, reference)
    lines = [
        _line(label, f"{c.nan} NaN, {c.inf} inf" + (f"; first at {axes.where(c.first)}" if c.count else ""))
        for label, c in (("output", output), ("reference", reference))
    ]
    lines += _nonfinite_slices(operand, axes)
    if output.count and reference.count:
        lines.append("the reference holds NaN or inf too: mask those elements on both sides before comparing")
    return f"NaN or inf in {bad.count} of {actual.size} elements of the {side}", lines, axes.where(bad.first)


def shape_hint(actual: Operand, expected: Operand) -> str:
    """Return a sentence when the two shapes are close relatives, or an empty one."""
    mine, theirs = actual.shape, expected.shape
    if [n for n in mine if n != 1] == [n for n in theirs if n != 1]:
        return "the shapes differ only in dimensions of length 1: reshape one of them"
    if len(mine) == len(theirs) >= 2 and mine[:-2] == theirs[:-2]:
        if mine[-2:] == (theirs[-1], theirs[-2]):
            equal = moments(actual.view(actual.data.swapaxes(-1, -2)), expected).pcc >= 0.99
            return "the output is the transposed of the reference" if equal else "the last two dimensions are exchanged"
        if all(m == -(-t // TILE) * TILE for m, t in zip(mine[-2:], theirs[-2:], strict=True)):
            return "the output still has its tile padding: cut it to the reference's shape"
    return ""


@dataclass(frozen=True)
class _NonFinite:
    nan: int
    inf: int
    first: int

    @property
    def count(self) -> int:
        return self.nan + self.inf


def _count_nonfinite(operand: Operand) -> _NonFinite:
    nan = inf = first = done = 0
    for index in block_indices(operand.shape):
        values = operand.native(index).reshape(-1)
        bad = ~np.isfinite(values)
        if bad.any():
            if not nan + inf:
                first = done + int(bad.argmax())
            nan += int(np.isnan(values).sum())
            inf += int(np.isinf(values).sum())
        done += values.size
    return _NonFinite(nan, inf, first)


def _nonfinite_slices(operand: Operand, axes: Axes) -> list[str]:
    bad = ~np.isfinite(operand.native()).reshape(axes.shape)
    lines = []
    for axis in axes.telling():
        hit = np.flatnonzero(bad.any(axis=tuple(other for other in range(bad.ndim) if other != axis)))
        name = axes.label(axis)
        shown = ", ".join(f"{name} {i}" for i in hit[:_SHOWN_SLICES]) + (
            " and more" if len(hit) > _SHOWN_SLICES else ""
        )
        lines.append(_line(f"by {name}", f"NaN or inf in {len(hit)} of {bad.shape[axis]}: {shown}"))
    return lines


def _slices_text(name: str, fits: Slices, floor: float) -> str:
    bad = fits.wrong(floor)
    good = np.delete(fits.pcc, bad)
    # Cut, not rounded, so that "or better" is true.
    least = pcc_figure(good.min()) if len(good) else f"{floor}"
    if not len(bad):
        return f"all {len(good)} at {least} or better"
    worst_first = bad[np.argsort(np.nan_to_num(fits.pcc[bad], nan=-2.0), kind="stable")]
    shown = ", ".join(f"{name} {i}: {_slice_text(fits, i, floor)}" for i in worst_first[:_SHOWN_SLICES])
    more = f" and {len(bad) - _SHOWN_SLICES} more" if len(bad) > _SHOWN_SLICES else ""
    return f"{len(good) or 'none'} of {len(fits.pcc)} at {least} or better; {shown}{more}"


def _slice_text(fits: Slices, index: int, floor: float) -> str:
    value = float(fits.pcc[index])
    if math.isnan(value):
        return "undefined"
    return pcc_text(value, floor, digits=3) if value < floor else f"scale {fits.scale[index]:.3f}"


def _tile_lines(actual: Operand, expected: Operand) -> list[str]:
    tile = worst_tile(actual, expected)
    if tile is None or tile.count < 2:
        return []
    leading = f"[{', '.join(map(str, tile.leading))}] " if tile.leading else ""
    height, width = (1, *actual.shape)[-2:]
    rows = f"rows {tile.row}-{min(tile.row + TILE, height) - 1}"
    columns = f"columns {tile.column}-{min(tile.column + TILE, width) - 1}"
    share = f"{100 * tile.share:.1f} % of the squared error of {tile.count} tiles"
    return [_line("worst tile", f"{leading}{rows}, {columns}: {share}")]


def _line(label: str, text: str) -> str:
    return f"{label:<16}   {text}"
