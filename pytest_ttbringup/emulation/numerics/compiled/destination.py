"""Adding two sums of eight products to a destination register: one step of the matrix unit.

Each function takes what is added as `value` units of 2 ** (exponent - 137), exponents biased by 127. Source: ttsim,
`fpu_accum_normalize_encode`; its bug for a sum of exactly -1 unit is left out.
"""

from __future__ import annotations

from numba import float32, int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int

LOWEST = 26
"""The least exponent that is told from zero: 2 ** -101, so that every scale below is a normal number."""


@njit(inline="always")
def shifted(value: int, places: int) -> int:
    """`value` / 2 ** `places`, halves rounded up; beyond 30 places nothing is left."""
    places = min(places, int32(30))
    return (value + ((int32(1) << places) >> int32(1))) >> places


@njit(inline="always")
def signed(magnitude: int, bits: int) -> int:
    """`magnitude` with the sign of a float32's bits."""
    sign = bits >> int32(31)
    return (magnitude ^ sign) - sign


@njit(inline="always")
def add_bf16(first: int, first_exponent: int, second: int, second_exponent: int, destination: float) -> float:
    """Into a BF16 destination: all three are aligned to the largest exponent and cut to eleven bits there, halves up
    (the destination's in magnitude); their sum is rounded to eight bits, ties away from zero.
    """
    bits = as_int(destination)
    own = (bits >> int32(23)) & int32(255)
    top = max(max(first_exponent, second_exponent), max(own, int32(LOWEST)))
    total = (shifted(first << int32(13), top - first_exponent) + int32(4096)) & int32(-8192)
    total += (shifted(second << int32(13), top - second_exponent) + int32(4096)) & int32(-8192)
    magnitude = ((bits & int32(0x7FFFFF)) | int32(0x800000)) if own > 0 else int32(0)
    total += signed((shifted(magnitude, top - own) + int32(4096)) & int32(-8192), bits)
    exact = float32(total >> int32(13)) * as_float((top - int32(10)) << int32(23))
    return as_float((as_int(exact) + int32(0x8000)) & int32(-0x10000))


@njit(inline="always")
def add_fp32(first: int, first_exponent: int, second: int, second_exponent: int, destination: float) -> float:
    """Into an FP32 destination: all three are aligned to the largest exponent, with 24 bits there, halves up; their sum
    is rounded to 24 bits, ties away from zero.
    """
    bits = as_int(destination)
    own = (bits >> int32(23)) & int32(255)
    top = max(max(first_exponent, second_exponent), max(own, int32(LOWEST)))
    total = shifted(first << int32(13), top - first_exponent) + shifted(second << int32(13), top - second_exponent)
    magnitude = ((bits & int32(0x7FFFFF)) | int32(0x800000)) if own > 0 else int32(0)
    total += signed(shifted(magnitude, top - own), bits)
    sign = total >> int32(31)
    magnitude = (total ^ sign) - sign
    nearest = as_int(float32(magnitude))  # ties to even, so far
    half = max((nearest >> int32(23)) - int32(151), int32(-1))  # log2 of half a unit in the last place; -1: no rounding
    below = magnitude - int32(as_float(nearest))
    tie = half >= int32(0) and below == int32(1) << max(half, int32(0))
    nearest += int32(1) if tie else int32(0)
    result = as_float(nearest) * as_float((top - int32(23)) << int32(23))
    return as_float(as_int(result) | (sign & int32(-0x80000000)))
