"""Sums of rows on the matrix unit: products with a column of scalers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH, exact

Array = npt.NDArray[np.float32]


@njit(nogil=True, error_model="numpy", cache=True)
def load_turned(panels: Array, x: Array, first: int, last: int, column: int) -> int:
    """Rows `first` … `last`, at most WIDTH, of sixteen columns into three panels of 16 x WIDTH: what phases 0 and 1
    multiply of them, what 2 and 3 do, and the powers of two of their exponents; the first two times 1 + 2 ** -14, as
    `exact` wants one factor. Beyond the last column there are zeros.

    Returns:
        The bits of the largest magnitude, or those less 2 ** 31 if a value has a sign.
    """
    away = np.float32(1 + 2.0**-14)
    columns = min(x.shape[1] - column, 16)
    largest = signs = int32(0)
    for r in range(last - first):
        row = x[first + r, column : column + columns]
        for k in range(columns):
            bits = as_int(row[k])
            high = as_float(bits & int32(-0x20000))
            panels[0, k * WIDTH + r] = high * away
            panels[1, k * WIDTH + r] = (as_float(bits & int32(-0x2000)) - high) * away
            panels[2, k * WIDTH + r] = as_float(bits & int32(0x7F800000))
            largest = max(largest, bits & int32(0x7FFFFFFF))
            signs |= bits
    panels[:, columns * WIDTH :] = np.float32(0)
    return int32(largest | (signs & int32(-0x80000000)))


@njit(nogil=True, error_model="numpy", cache=True)
def sum_rows(x: Array, scaler: float, out: Array, phases: int, fp32: bool) -> float:
    """Rows [M, K] -> out [M]: the sum of each, times the scaler.

    The rows are in SrcB and the scaler, of BF16, in SrcA; as in a matmul, 32 values go through a phase, then through
    the next (LLK `reduce_tile` of rows, which multiplies by a tile of scalers). To the compiled step, which is the same
    for either factor, the rows are the weights.

    Odd phases multiply what a power of two has not, and add zeros. Where no value is negative they are left out: no
    destination is below the largest power of two that was added to it, so that aligning it changes none.

    Returns:
        The largest magnitude; sums of rows with one above 2 ** 50 or so are not what the unit gives.
    """
    panels, tile = np.zeros((2, 3, 16 * WIDTH), np.float32), np.zeros(WIDTH, np.float32)
    parts, power = np.zeros((2, 16), np.float32), np.zeros(16, np.float32)
    bits = as_int(np.float32(scaler))
    parts[0, :] = as_float(bits & int32(-0x80000))
    parts[1, :] = as_float(bits & int32(-0x4000)) - as_float(bits & int32(-0x80000))
    power[:] = as_float(bits & int32(0x7F800000))
    whole = bits & int32(0x807FFFFF) == int32(0)  # a positive power of two
    largest = int32(0)
    for first in range(0, x.shape[0], WIDTH):
        last = min(first + WIDTH, x.shape[0])
        lanes = tile[: min(-(-(last - first) // 8) * 8, WIDTH)]
        lanes[:] = np.float32(0)
        for start in range(0, x.shape[1], 32):
            halves = min(-(-(x.shape[1] - start) // 16), 2)
            signs = int32(0)
            for half in range(halves):
                seen = load_turned(panels[half], x, first, last, start + 16 * half)
                largest, signs = max(largest, seen & int32(0x7FFFFFFF)), signs | seen
            step = 2 if whole and signs >= int32(0) else 1
            for phase in range(0, phases, step):
                below = int32((-5 if phase & 1 else 0) - (7 if phase & 2 else 0))
                for half in range(halves):
                    exact(parts[phase & 1], power, panels[half, phase >> 1], panels[half, 2], below, fp32, lanes)
        out[first:last] = lanes[: last - first]
    return as_float(largest)
