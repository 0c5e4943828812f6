"""Known patterns of wrong outputs, each told in one sentence."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_ttbringup.comparison.localize import Axes, centred_rows
from pytest_ttbringup.comparison.metrics import Moments, moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pytest_ttbringup.comparison.operands import Float64, Operand

_MATCH = 0.99
_MIXED_LIMIT = 256
_SAMPLE = 2_097_152
_LOOK_AT = {
    "user": "look at its position or its page-table row",
    "head": "look at the head split and at which KV head it reads",
    "position": "look at the cache update and the mask there",
}


def difference_hint(
    actual: Operand, expected: Operand, axes: Axes, overall: Moments, wrong: Mapping[int, npt.NDArray[Any]]
) -> str:
    """Return a sentence on the pattern in a failed comparison, or an empty one.

    actual, expected: in the shape of axes. wrong: by axis, the slices that differ.
    """
    return (
        rearranged_hint(actual, expected, axes, overall.pcc)
        or _part_hint(actual, expected, axes, wrong)
        or scale_hint(overall)
    )


def scale_hint(overall: Moments) -> str:
    """Return a sentence when the output is the reference times a constant, or plus one; else an empty one."""
    scale, offset = overall.scale, overall.offset
    if overall.pcc <= -_MATCH:
        return f"the sign is flipped (scale {scale:.3f})"
    if not overall.pcc >= _MATCH:
        return ""
    if abs(scale - 1) > 0.01:
        # Phase 0 alone truncates both mantissas: a scale of 0.963 was measured over a SwiGLU block.
        lofi = 0.93 <= scale < 0.99
        cause = ": math fidelity LoFi shrinks results by about 4 %" if lofi else ", and PCC can not see it"
        return f"scale off by a constant factor {scale:.3f}{cause}"
    if abs(offset) > 0.01 * overall.expected_rms:
        return f"a constant {offset:.3g} was added, and PCC can not see it"
    return ""


def rearranged_hint(actual: Operand, expected: Operand, axes: Axes, original: float) -> str:
    """Return a sentence when the output holds the right values in wrong places, else an empty one.

    Where all are shifted or exchanged, that must explain nine tenths of the difference.
    actual, expected: in the shape of axes. original: their PCC.
    """
    long_axes = [axis for axis, length in enumerate(axes.shape) if length > 1]
    for axis in long_axes:
        for step, amount in ((1, "one"), (-1, "minus one")):
            if axes.shape[axis] > 2 and _explains(_shifted(actual, expected, axis, step), original):
                return f"the output equals the expected shifted by {amount} along {axes.label(axis)}"
    for first, second in pairwise(long_axes):
        swapped = expected.view(expected.data.swapaxes(first, second))
        if _explains(moments(actual.view(actual.data.reshape(swapped.shape)), swapped).pcc, original):
            one, other = axes.label(first), axes.label(second)
            if axes.shape[first] == axes.shape[second]:
                return f"the output is the transposed: {one} and {other} are exchanged"
            return f"the output is the expected with {one} and {other} exchanged before a reshape"
    for axis in long_axes:
        moved = _mixed_up(actual, expected, axis)
        if moved:
            name = axes.label(axis)
            examples = ", ".join(f"output {name} {at} holds expected {name} {source}" for at, source in moved[:2])
            more = f" and {len(moved) - 2} more" if len(moved) > 2 else ""
            # The pairs that rotary embedding turns are (0, 1), (2, 3), ... for Meta and (0, n/2), ... for Hugging Face.
            half = axes.shape[axis] // 2
            rotary = name == "dim" and ({(1, half), (2, 1)} <= set(moved) or {(half, 1), (1, 2)} <= set(moved))
            cause = ": rotary order, Hugging Face's halves against Meta's pairs" if rotary else ""
            finding = f"one {name} is wrong" if len(moved) == 1 else f"{name}s are mixed up"
            return f"{finding}: {examples}{more}{cause}"
    return ""


def _part_hint(actual: Operand, expected: Operand, axes: Axes, wrong: Mapping[int, npt.NDArray[Any]]) -> str:
    """Return a sentence when the difference lies in one slice of a named axis, or in all from one on."""
    for axis, bad in wrong.items():
        name, count = axes.label(axis), axes.shape[axis]
        look_at = _LOOK_AT.get(name, "look at what is special about it")
        if len(bad) == 1:
            inner = Axes(axes.names[:axis] + axes.names[axis + 1 :], axes.shape[:axis] + axes.shape[axis + 1 :])
            a, e = (x.view(np.take(x.data, bad[0], axis=axis)) for x in (actual, expected))
            within = moments(a, e)
            nested = rearranged_hint(a, e, inner, within.pcc) or scale_hint(within)
            return f"one {name} differs: {look_at}" + (f" ({name} {bad[0]}: {nested})" if nested else "")
        if 1 < len(bad) < count and bad[0] == count - len(bad):
            return f"{name}s from {bad[0]} on differ: {look_at}"
    return ""


def _shifted(actual: Operand, expected: Operand, axis: int, step: int) -> float:
    """PCC of the output from step on with the reference up to step before its end (or the reverse), along axis."""
    before = (slice(None),) * axis
    late, early = (*before, slice(1, None)), (*before, slice(None, -1))
    if step < 0:
        late, early = early, late
    return moments(actual.view(actual.data[late]), expected.view(expected.data[early])).pcc


def _mixed_up(actual: Operand, expected: Operand, axis: int) -> list[tuple[int, int]]:
    """Return (place in the output, place in the expected) of slices that hold another's values, if all are found."""
    count = actual.shape[axis]
    length = actual.size // count
    if count > _MIXED_LIMIT or length < 8:
        return []
    step = max(1, actual.size // _SAMPLE)
    match = _sampled_rows(actual, axis, step) @ _sampled_rows(expected, axis, step).T
    if not (match.max(axis=1) >= _MATCH).all():
        return []
    best = match.argmax(axis=1)
    return [(int(at), int(best[at])) for at in np.flatnonzero(np.diagonal(match) < _MATCH)]


def _sampled_rows(operand: Operand, axis: int, step: int) -> Float64:
    """Return [slices, samples]: every slice along axis, thinned, centred, of length 1; zeros for a constant one."""
    moved = np.moveaxis(operand.data, axis, 0)
    picks = np.unravel_index(np.arange(0, operand.size // operand.shape[axis], step), moved.shape[1:])
    rows = centred_rows(operand.view(moved).float64((slice(None), *picks)))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _explains(candidate: float, original: float) -> bool:
    return candidate >= _MATCH and 1 - candidate <= 0.1 * (1 - original)
