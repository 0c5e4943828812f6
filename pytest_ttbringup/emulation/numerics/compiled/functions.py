"""Functions of the vector unit, over flat arrays; `vector_unit` names the source of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, float64, int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.scalars import even

Array = npt.NDArray[np.float32]

LAST = 1.0017248
"""The last coefficient of exp's polynomial, as published."""


@njit(inline="always")
def exp_21f(x: float, last: float) -> float:
    """2 ** t by writing t * 2 ** 23 as bits: its integer part becomes the exponent, and a quadratic in its fraction
    the mantissa.
    """
    t = x * float32(1.4426950216293335) + float32(127)
    t = min(max(t, float32(0)), float32(255)) if x == x else float32(0)
    z = int32(t * float32(2.0**23))
    fraction = float32(z & int32(0x7FFFFF))
    mantissa = (fraction * float32(4.791750143340323e-15) + float32(7.839635491371155e-08)) * fraction + last
    y = as_float((as_int(mantissa) & int32(0x7FFFFF)) | (z & int32(0x7F800000)))
    y = float32(0) if t < float32(1) else y
    y = float32(np.inf) if t >= float32(255) else y
    return y if x == x else x


@njit(inline="always")
def reciprocal(x: float) -> float:
    """A quadratic and one step of Newton's method on the mantissa (`sfpu_reciprocal_iter<1>`, ckernel_sfpu_recip.h)."""
    bits = as_int(x)
    m = as_float((bits & int32(0x7FFFFF)) | int32(-0x40800000))  # -1 … -2
    y = (m * float32(0.3232325017452240) + float32(1.4545459747314453)) * m + float32(2.1212124824523926)
    y = (m * y + float32(1)) * y + y
    inverse_power = as_float(int32(0x7F000000) - (bits & int32(0x7F800000)))
    return y * inverse_power if x >= float32(1) and x < float32(2.0**100) else float32(1) / x


@njit(inline="always")
def sigmoid_of(x: float) -> float:
    """1 / (1 + exp(-x)), not rounded."""
    return reciprocal(float32(1) + exp_21f(-x, float32(LAST)))


@njit(nogil=True, error_model="numpy", cache=True)
def exp(x: Array, out: Array, last: float, rounded: bool) -> None:
    """`exp_21f`, to BF16 if `rounded`."""
    last = float32(last)
    if rounded:
        for i in range(x.shape[0]):
            out[i] = even(exp_21f(x[i], last))
    else:
        for i in range(x.shape[0]):
            out[i] = exp_21f(x[i], last)


@njit(nogil=True, error_model="numpy", cache=True)
def sigmoid(x: Array, out: Array) -> None:
    """1 / (1 + exp(-x))."""
    for i in range(x.shape[0]):
        out[i] = even(sigmoid_of(x[i]))


@njit(nogil=True, error_model="numpy", cache=True)
def silu(x: Array, out: Array) -> None:
    """X * sigmoid(x), the sigmoid not rounded."""
    for i in range(x.shape[0]):
        out[i] = even(x[i] * sigmoid_of(x[i]))


@njit(inline="always")
def coarse_exp_of(x: float, slope: float, fp32: bool) -> float:
    """exp(x * scale) as attention kernels approximate it: a linear function of x, rounded to an integer, becomes the
    first bits of a float, within 4 %. Below zero the packer's ReLU makes it 0.

    A BF16 destination keeps seven of the eight mantissa bits. Source: `exp_init` and `calculate_exponential` in
    ckernel_sfpu_exp.h (`APPROXIMATION_MODE` without clamping), after Schraudolph 1999.
    """
    units = float32(float64(x) * slope + 32500.818359375)
    units = units if units > float32(0) else float32(0)  # nor is a NaN
    units = min(units, float32(32767))
    whole = int32((units + float32(2.0**23)) - float32(2.0**23))  # to the nearest, ties to even
    bits = whole << int32(15) if fp32 else (whole >> int32(1)) << int32(16)
    return as_float(bits) if x == x else x
