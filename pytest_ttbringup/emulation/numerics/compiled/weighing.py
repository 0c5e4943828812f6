"""Attention's scores become weights: what a flash attention kernel does between its two products.

Shape legend: R rows (a query of a group), S keys of a chunk.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.functions import coarse_exp_of
from pytest_ttbringup.emulation.numerics.compiled.scalars import (
    BITS_8,
    BITS_11,
    added,
    away,
    cut,
    even,
    multiplied_bf16,
    multiplied_fp32,
)

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

NOTHING_SEEN = -1e30
"""Stands for the greatest of no scores: whatever is seen later counts for all, and -inf minus it is no NaN."""


@njit(inline="always")
def ordered(value: float) -> int:
    """An integer that orders floats as they are, NaN above all: LLVM makes vectors of the greatest integer only."""
    bits = as_int(value)
    key = bits ^ ((bits >> int32(31)) & int32(0x7FFFFFFF))
    return key if value == value else int32(0x7FFFFFFF)


@njit(nogil=True, error_model="numpy", cache=True)
def below_peak(
    scores: Array, hidden: Flags, last_peak: Array, peak: Array, out: Array, packed: bool, fp32: bool
) -> None:
    """Find the greatest score of each row so far, and subtract it.

    Args:
        scores: [R, S]; packed to BF16 first if `packed`.
        hidden: [R, S], true where a query does not look; the score there is -inf.
        last_peak: [R], of the chunks before, -inf if there are none.
        peak: [R], filled; the unit that finds it cuts it to BF16 (ttsim, `GMPOOL`).
        out: [R, S], filled with the differences as the matrix unit takes them.
        packed: whether scores lie in BF16.
        fp32: whether destinations are FP32.
    """
    for r in range(scores.shape[0]):
        row, unseen, to = scores[r], hidden[r], out[r]
        for j in range(row.shape[0]):
            score = away(row[j]) if packed else row[j]
            to[j] = float32(-np.inf) if unseen[j] else score
        key = ordered(float32(NOTHING_SEEN))
        for j in range(to.shape[0]):
            key = max(key, ordered(to[j]))
        top = float32(np.nan) if key == int32(0x7FFFFFFF) else as_float(key ^ ((key >> int32(31)) & int32(0x7FFFFFFF)))
        top = cut(top, BITS_8)
        last = last_peak[r]
        top = last if last > top or last != last else top
        peak[r] = top
        for j in range(to.shape[0]):
            to[j] = added(to[j], -top, fp32)


@njit(nogil=True, error_model="numpy", cache=True)
def coarse_weights(differences: Array, hidden: Flags, slope: float, fp32: bool, packed: bool) -> None:
    """Flat differences become exp of them times the scale, coarsely, and zero where nobody looks; to BF16 if
    `packed`.
    """
    for i in range(differences.shape[0]):
        weight = coarse_exp_of(differences[i], slope, fp32)
        weight = float32(0) if hidden[i] else weight
        differences[i] = away(weight) if packed else weight


@njit(nogil=True, error_model="numpy", cache=True)
def masked_weights(weights: Array, hidden: Flags, packed: bool) -> None:
    """Flat weights become zero where nobody looks; to BF16 if `packed`."""
    for i in range(weights.shape[0]):
        weight = float32(0) if hidden[i] else weights[i]
        weights[i] = away(weight) if packed else weight


@njit(inline="always")
def _multiplied(a: float, b: float, phases: int, fp32: bool) -> float:
    return multiplied_fp32(a, b, phases) if fp32 else multiplied_bf16(a, b, phases)


@njit(nogil=True, error_model="numpy", cache=True)
def join(
    total: Array, last_total: Array, output: Array, last_output: Array, factor: Array, phases: int, fp32: bool
) -> None:
    """Add what chunks before gave, times a factor, to sums [R] and outputs [R, h] of BF16, with ties to even."""
    for r in range(output.shape[0]):
        by, to, last = factor[r], output[r], last_output[r]
        total[r] = even(total[r] + away(_multiplied(last_total[r], by, phases, fp32)))
        for j in range(to.shape[0]):
            to[j] = even(to[j] + away(_multiplied(last[j], by, phases, fp32)))


@njit(nogil=True, error_model="numpy", cache=True)
def divide(output: Array, total: Array, phases: int, fp32: bool) -> None:
    """Outputs [R, h] times the inverse, in BF16, of their sums [R], to BF16."""
    for r in range(output.shape[0]):
        inverse = float32(1) / cut(total[r], BITS_11)
        inverse = away(inverse) if fp32 else even(inverse)
        to = output[r]
        for j in range(to.shape[0]):
            to[j] = away(_multiplied(to[j], inverse, phases, fp32))
