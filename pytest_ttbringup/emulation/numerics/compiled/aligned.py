"""A product of matrices with FP32 destinations, modelled down to its groups' alignment in phase 0: see `fp32_step`.

Shape legend: S steps of sixteen of the inner size, M rows (a multiple of `fp32_step.ROWS`), K = 16 S, N columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bf16_step import LOWEST, TOP, find_units, split
from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.fp32_step import ROWS, add_aligned, add_plain
from pytest_ttbringup.emulation.numerics.compiled.scalars import BITS_7, BITS_11
from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

PANEL = 16 * WIDTH

_TALL = 256
"""Rows whose destinations stay in the second-level cache while the inner size goes by."""


@njit(nogil=True, error_model="numpy", cache=True)
def prepare(activations: Array, high: Array, low: Array, exponents: Bytes) -> None:
    """Activations [rows, inner] as `multiply` takes them: fill the parts [S, M, 16] and their exponents, all zeros."""
    away = np.float32(1 + 2.0**-14)
    for i in range(activations.shape[0]):
        for step in range(high.shape[0]):
            part = activations[i, 16 * step : 16 * step + 16]
            for k in range(part.shape[0]):
                bits = as_int(part[k])
                first = as_float(bits & int32(BITS_7))
                high[step, i, k] = first * away
                low[step, i, k] = (as_float(bits & int32(BITS_11)) - first) * away
                exponent = ((bits >> int32(23)) & int32(255)) - int32(LOWEST)
                exponents[step, i, k] = min(max(exponent, int32(0)), int32(TOP))


@njit(nogil=True, error_model="numpy", cache=True)
def multiply(
    high: Array, low: Array, exponents: Bytes, weights: Array, out: Array, phases: int, start: int, stop: int
) -> int:
    """Write activations times weights to the columns `start` … `stop` of `out`.

    Args:
        high: [S, M, 16], what phases 0 and 1 multiply of the activations, times 1 + 2 ** -14.
        low: [S, M, 16], what phases 2 and 3 do, likewise.
        exponents: [S, M, 16], of the activations, from `bf16_step.LOWEST` on.
        weights: [K, N].
        out: [M or fewer, N].
        phases: 1 to 4.
        start: a column.
        stop: a column.

    Returns:
        The weights' largest exponent, as `exponents` counts.
    """
    steps, rows, _ = high.shape
    panels, bytes_ = np.zeros(2 * PANEL, np.float32), np.zeros(PANEL, np.uint8)
    edge, tile = np.zeros((16, WIDTH), np.float32), np.zeros((min(rows, _TALL), WIDTH), np.float32)
    units, largest = np.zeros((ROWS, 2, WIDTH), np.float32), np.zeros(8, np.int32)
    for j in range(start, stop, WIDTH):
        width = min(WIDTH, stop - j)
        for top in range(0, rows, _TALL):
            height = min(_TALL, rows - top)
            tile[:] = np.float32(0)
            for step in range(steps):
                if width == WIDTH:
                    at, stride = 16 * step * weights.shape[1] + j, weights.shape[1]
                    split(weights, at, stride, panels, 0, bytes_, 0, largest)
                else:
                    edge[:, :width] = weights[16 * step : 16 * step + 16, j : j + width]
                    split(edge, 0, WIDTH, panels, 0, bytes_, 0, largest)
                for i in range(0, height, ROWS):
                    at = (step * rows + top + i) * 16
                    for r in range(ROWS):
                        find_units(exponents, at + 16 * r, bytes_, 0, units, 2 * r * WIDTH)
                    add_aligned(high, at, panels, 0, units, tile, i * WIDTH)
                    for phase in range(1, phases):
                        add_plain(low if phase & 2 else high, at, panels, (phase & 1) * PANEL, tile, i * WIDTH)
            seen = min(height, out.shape[0] - top)  # the rest fills up ROWS
            out[top : top + seen, j : j + width] = tile[:seen, :width]
    return largest.max()
