"""One step of the matrix unit for a row of destinations: sixteen of the inner size in one fidelity phase, for matmuls
with FP32 destinations and for sums of rows. `bf16_step` is the faster one of matmuls with BF16 destinations.

The sixteen products fall into two groups of eight. Written out, since numba gives LLVM no loop short enough to unroll
and wide enough to vectorize otherwise: this is where the time goes.

Shape legend: a row of 16 activations, a panel of 16 x WIDTH weights held flat, WIDTH destinations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.destination import add_bf16, add_fp32

WIDTH = 64
"""Columns of a panel: 16 rows of them fit the first-level cache beside the destinations."""

Array = npt.NDArray[np.float32]


@njit(nogil=True, fastmath={"contract"}, error_model="numpy", cache=True)
def exact(
    activations: Array,
    powers: Array,
    weights: Array,
    weight_powers: Array,
    phase_exponent: int,
    fp32: bool,
    destination: Array,
) -> None:
    """Bit for bit: every product is rounded to the unit of its group's largest exponent, ties away from zero, and the
    sum of the units is exact (ttsim, `mvmul`).

    Args:
        activations: [16], each times 1 + 2 ** -14, so that products halfway between two units round away from zero.
        powers: [16], the power of two of each activation's exponent, 0 for zero.
        weights: the panel.
        weight_powers: as `powers`, of the weights, in the panel's order.
        phase_exponent: by how much the phase's parts lie below their operands' exponents.
        fp32: whether destinations are FP32, else BF16; LLVM makes two loops of it.
        destination: [WIDTH] or the first of them, updated.
    """
    p, q, d = weights, weight_powers, destination
    unit = as_float(((int32(140) + phase_exponent) << int32(23)) | int32(0x400000))  # 1.5 * 2 ** 13 in the phase
    a0, a1, a2, a3, a4, a5, a6, a7 = (
        activations[0],
        activations[1],
        activations[2],
        activations[3],
        activations[4],
        activations[5],
        activations[6],
        activations[7],
    )
    b0, b1, b2, b3, b4, b5, b6, b7 = (
        activations[8],
        activations[9],
        activations[10],
        activations[11],
        activations[12],
        activations[13],
        activations[14],
        activations[15],
    )
    x0, x1, x2, x3, x4, x5, x6, x7 = (
        powers[0],
        powers[1],
        powers[2],
        powers[3],
        powers[4],
        powers[5],
        powers[6],
        powers[7],
    )
    y0, y1, y2, y3, y4, y5, y6, y7 = (
        powers[8],
        powers[9],
        powers[10],
        powers[11],
        powers[12],
        powers[13],
        powers[14],
        powers[15],
    )
    for j in range(destination.shape[0]):
        top = max(x0 * q[j], x1 * q[WIDTH + j])
        top = max(top, max(x2 * q[2 * WIDTH + j], x3 * q[3 * WIDTH + j]))
        top = max(top, max(x4 * q[4 * WIDTH + j], x5 * q[5 * WIDTH + j]))
        top = max(top, max(x6 * q[6 * WIDTH + j], x7 * q[7 * WIDTH + j]))
        m = top * unit  # products added to it become whole units in its last bits
        first = as_int(a0 * p[j] + m) + as_int(a1 * p[WIDTH + j] + m)
        first += as_int(a2 * p[2 * WIDTH + j] + m) + as_int(a3 * p[3 * WIDTH + j] + m)
        first += as_int(a4 * p[4 * WIDTH + j] + m) + as_int(a5 * p[5 * WIDTH + j] + m)
        first += as_int(a6 * p[6 * WIDTH + j] + m) + as_int(a7 * p[7 * WIDTH + j] + m)
        first -= as_int(m) << int32(3)
        first_exponent = (as_int(top) >> int32(23)) + phase_exponent
        top = max(y0 * q[8 * WIDTH + j], y1 * q[9 * WIDTH + j])
        top = max(top, max(y2 * q[10 * WIDTH + j], y3 * q[11 * WIDTH + j]))
        top = max(top, max(y4 * q[12 * WIDTH + j], y5 * q[13 * WIDTH + j]))
        top = max(top, max(y6 * q[14 * WIDTH + j], y7 * q[15 * WIDTH + j]))
        m = top * unit  # products added to it become whole units in its last bits
        second = as_int(b0 * p[8 * WIDTH + j] + m) + as_int(b1 * p[9 * WIDTH + j] + m)
        second += as_int(b2 * p[10 * WIDTH + j] + m) + as_int(b3 * p[11 * WIDTH + j] + m)
        second += as_int(b4 * p[12 * WIDTH + j] + m) + as_int(b5 * p[13 * WIDTH + j] + m)
        second += as_int(b6 * p[14 * WIDTH + j] + m) + as_int(b7 * p[15 * WIDTH + j] + m)
        second -= as_int(m) << int32(3)
        second_exponent = (as_int(top) >> int32(23)) + phase_exponent
        if fp32:
            d[j] = add_fp32(first, first_exponent, second, second_exponent, d[j])
        else:
            d[j] = add_bf16(first, first_exponent, second, second_exponent, d[j])
