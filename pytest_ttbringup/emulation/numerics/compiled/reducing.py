"""Sums of rows on the matrix unit: products with a column of scalers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH, exact

Array = npt.NDArray[np.float32]


@njit(nogil=True, error_model="numpy", cache=True)
def load_turned(panels: Array, x: Array) -> None:
    """Rows [at most WIDTH, 16] into three panels of 16 x WIDTH: what phases 0 and 1 multiply of them, what 2 and 3 do,
    and the powers of two of their exponents; the first two times 1 + 2 ** -14, as `exact` wants one factor.
    """
    away = np.float32(1 + 2.0**-14)
    for r in range(x.shape[0]):
        for k in range(16):
            bits = as_int(x[r, k])
            high = as_float(bits & int32(-0x20000))
            panels[0, k * WIDTH + r] = high * away
            panels[1, k * WIDTH + r] = (as_float(bits & int32(-0x2000)) - high) * away
            panels[2, k * WIDTH + r] = as_float(bits & int32(0x7F800000))


@njit(nogil=True, error_model="numpy", cache=True)
def sum_rows(x: Array, scaler: Array, power: Array, out: Array, phases: int, fp32: bool) -> None:
    """Rows [M, K] -> out [M]: the sum of each, times the scaler; K is a multiple of 16, values below 2 ** 50 or so.

    The rows are in SrcB and the scaler in SrcA; as in a matmul, 32 values go through a phase, then through the next
    (LLK `reduce_tile` of rows, which multiplies by a tile of scalers). To the compiled step, which is the same for
    either factor, the rows are the weights.

    Args:
        x: the rows.
        scaler: [2, 16]: what even phases multiply of the scaler sixteen times over, then what odd ones do.
        power: [16], the power of two of its exponent.
        out: the sums.
        phases: of math fidelity.
        fp32: whether destinations are FP32.
    """
    panels, tile = np.zeros((2, 3, 16 * WIDTH), np.float32), np.zeros(WIDTH, np.float32)
    for first in range(0, x.shape[0], WIDTH):
        last = min(first + WIDTH, x.shape[0])
        tile[:] = np.float32(0)
        for start in range(0, x.shape[1], 32):
            halves = min(x.shape[1] - start, 32) // 16
            for half in range(halves):
                load_turned(panels[half], x[first:last, start + 16 * half : start + 16 * half + 16])
            for phase in range(phases):
                below = int32((-5 if phase & 1 else 0) - (7 if phase & 2 else 0))
                for half in range(halves):
                    exact(scaler[phase & 1], power, panels[half, phase >> 1], panels[half, 2], below, fp32, tile)
        out[first:last] = tile[: last - first]
