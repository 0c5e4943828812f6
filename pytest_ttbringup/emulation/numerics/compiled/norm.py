"""RMS norm in one go: a decode step has so many small ones that calls between its steps would take most of the time.

Shape legend: R rows, D columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, njit

from pytest_ttbringup.emulation.numerics.compiled.reducing import sum_rows
from pytest_ttbringup.emulation.numerics.compiled.scalars import (
    BITS_8,
    added,
    cut,
    even,
    multiplied_bf16,
    multiplied_fp32,
)

Array = npt.NDArray[np.float32]


@njit(inline="always")
def _multiplied(a: float, b: float, phases: int, fp32: bool) -> float:
    return multiplied_fp32(a, b, phases) if fp32 else multiplied_bf16(a, b, phases)


@njit(nogil=True, error_model="numpy", cache=True)
def _rms_norm(
    x: Array, weight: Array, weighted: bool, epsilon: float, part: float, out: Array, phases: int, fp32: bool
) -> float:
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = _multiplied(x[i, j], x[i, j], phases, fp32)
    sums = np.empty(rows, np.float32)
    largest = sum_rows(out, 1.0, sums, phases, fp32)
    for i in range(rows):
        mean = sums[i] * float32(part)
        variance = added(mean if fp32 else cut(mean, BITS_8), float32(epsilon), fp32)
        scale = float32(1) / np.sqrt(variance)
        scale = scale if fp32 else even(scale)
        for j in range(columns):
            out[i, j] = _multiplied(x[i, j], scale, phases, fp32)
        if weighted:
            for j in range(columns):
                out[i, j] = _multiplied(out[i, j], weight[j], phases, fp32)
    return largest


@njit(nogil=True, error_model="numpy", cache=True)
def rms_norm(
    x: Array, weight: Array, weighted: bool, epsilon: float, part: float, out: Array, phases: int, fp32: bool
) -> float:
    """Fill `out` [R, D] with `norms.rms_norm` of `x` [R, D], not packed yet.

    Args:
        x: values.
        weight: [D], if `weighted`.
        weighted: whether there is a weight.
        epsilon: of BF16.
        part: 1 / D.
        out: the result.
        phases: of math fidelity.
        fp32: whether destinations are FP32.

    Returns:
        The largest square; with one above 2 ** 50 or so, `out` is not what the units give.
    """
    if fp32:  # LLVM makes a loop of each
        return _rms_norm(x, weight, weighted, epsilon, part, out, phases, True)
    return _rms_norm(x, weight, weighted, epsilon, part, out, phases, False)
