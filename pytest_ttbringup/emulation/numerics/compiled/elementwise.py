"""Element-wise products on the matrix unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_int
from pytest_ttbringup.emulation.numerics.compiled.destination import add_bf16, signed

Array = npt.NDArray[np.float32]


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_bf16(a: Array, b: Array, out: Array, phases: int) -> None:
    """Add the products of flat arrays to BF16 destinations, phase by phase: `a` in SrcA, `b` in SrcB (ttsim, `elwmul`).

    Operands are of BF16, a block format or TF32, below 2 ** 60 or so.
    """
    for phase in range(phases):
        below = int32(127 + (5 if phase & 1 else 0) + (7 if phase & 2 else 0))
        a_places, a_mask = (int32(14), int32(31)) if phase & 1 else (int32(19), int32(15))
        b_places, b_mask = (int32(13), int32(15)) if phase & 2 else (int32(17), int32(63))
        a_one, b_one = int32(0 if phase & 1 else 16), int32(0 if phase & 2 else 64)
        b_up = int32(3 if phase & 2 else 0)
        for i in range(a.shape[0]):
            x, y = as_int(a[i]), as_int(b[i])
            x_exponent, y_exponent = (x >> int32(23)) & int32(255), (y >> int32(23)) & int32(255)
            left = ((x >> a_places) & a_mask) | a_one
            right = (((y >> b_places) & b_mask) | b_one) << b_up
            units = int32(left * right) if min(x_exponent, y_exponent) > int32(0) else int32(0)
            top = x_exponent + y_exponent - below
            out[i] = add_bf16(signed(units, x ^ y), top if units > int32(0) else int32(0), int32(0), int32(0), out[i])
