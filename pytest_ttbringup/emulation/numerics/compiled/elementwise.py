"""Element-wise products on the matrix unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int

Array = npt.NDArray[np.float32]


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_bf16(a: Array, b: Array, out: Array, phases: int) -> None:
    """Add the products of flat arrays to BF16 destinations, phase by phase: `a` in SrcA, `b` in SrcB (ttsim, `elwmul`).

    Operands are of BF16, a block format or TF32, below 2 ** 50 or so. Roundings are done as `bf16_step` does them: a
    product's halves go up, a destination's away from zero.
    """
    exponent_bits, unit_bits = int32(0x7F800000), int32((13 << 23) | 0x400000)
    for phase in range(phases):
        below = int32((127 + (5 if phase & 1 else 0) + (7 if phase & 2 else 0)) << 23)
        a_kept, a_before = (int32(-0x4000), int32(-0x80000)) if phase & 1 else (int32(-0x80000), int32(0))
        b_kept, b_before = (int32(-0x2000), int32(-0x20000)) if phase & 2 else (int32(-0x20000), int32(0))
        for i in range(a.shape[0]):
            x, y = as_int(a[i]), as_int(b[i])
            left = as_float(x & a_kept) - as_float(x & a_before)
            right = as_float(y & b_kept) - as_float(y & b_before)
            product = left * right
            exponent = int32(int32(x & exponent_bits) + int32(y & exponent_bits) - below)
            exponent = max(exponent, int32(0)) if product != float32(0) else int32(0)
            old = out[i]
            unit = as_float(int32(max(exponent, as_int(old) & exponent_bits) + unit_bits))
            product += as_float(exponent) * float32(2.0**-12)
            away = old * float32(1 + 2.0**-20)
            total = ((product + unit) - unit) + ((away + unit) - unit)
            out[i] = as_float(int32(as_int(total) + int32(0x8000)) & int32(-0x10000))
