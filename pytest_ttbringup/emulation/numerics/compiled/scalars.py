"""Roundings, sums and products of single values, inside compiled loops.

Each is inlined where it is called, so that LLVM sees one loop and makes vectors of it.
"""

from __future__ import annotations

from numba import float32, int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int

BITS_5, BITS_7, BITS_8, BITS_10, BITS_11 = -0x80000, -0x20000, -0x10000, -0x4000, -0x2000
"""Masks of a float32's bits that keep so many significant ones."""

EXPONENT = 0x7F800000

LARGEST = 2.0**50
"""`matrix_unit.LARGEST`."""


@njit(inline="always")
def cut(value: float, kept: int) -> float:
    """The first significant bits of a value; the rest is cut off (`mantissas.leading_bits`)."""
    return as_float(as_int(value) & int32(kept))


@njit(inline="always")
def away(value: float) -> float:
    """To BF16, ties away from zero (`packing.to_bfloat16`)."""
    return as_float(int32(as_int(value) + int32(0x8000)) & int32(BITS_8))


@njit(inline="always")
def even(value: float) -> float:
    """To BF16, ties to even (`packing.to_bfloat16_even`)."""
    bits = as_int(value)
    rounded = as_float(int32(bits + int32(0x7FFF) + ((bits >> int32(16)) & int32(1))) & int32(BITS_8))
    return rounded if value == value else value


@njit(inline="always")
def added(a: float, b: float, fp32: bool) -> float:
    """What `adding.add` makes of two values."""
    a, b = cut(a, BITS_11), cut(b, BITS_11)
    swap = abs(a) < abs(b)
    larger, smaller = b if swap else a, a if swap else b
    # 1.5 * 2 ** 13 times the larger's power of two: adding and subtracting it leaves eleven bits of the smaller
    shift = as_float(int32((as_int(larger) & int32(EXPONENT)) + int32((13 << 23) | 0x400000)))
    shift = shift if shift == shift else float32(0)
    total = larger + ((smaller * float32(1 + 2.0**-14) + shift) - shift)  # the factor makes ties go away from zero
    return total if fp32 else away(total)


@njit(inline="always")
def multiplied_fp32(a: float, b: float, phases: int) -> float:
    """What `multiplying.multiply` makes of two values with FP32 destinations."""
    high = cut(b, BITS_7)
    if phases == 4:
        return cut(a, BITS_10) * cut(b, BITS_11)
    if phases == 2:
        return cut(a, BITS_10) * high
    if phases == 1:
        return cut(a, BITS_5) * high
    product = cut(a, BITS_10) * high + cut(a, BITS_5) * (cut(b, BITS_11) - high)
    tame = abs(a) < float32(LARGEST) and abs(b) < float32(LARGEST)
    return product if tame else a * b  # an infinity would cancel out to NaN


@njit(inline="always")
def phase_added(old: float, a: float, b: float, a_kept: int, a_before: int, b_kept: int, b_before: int) -> float:
    """One phase of a product added to a BF16 destination (ttsim, `elwmul`).

    Roundings are done as `bf16_step` does them: a product's halves go up, a destination's away from zero. Of operands
    the bits are multiplied that the masks `…kept` have and the masks `…before` have not.
    """
    below = int32((127 << 23) + ((5 << 23) if a_before != int32(0) else 0) + ((7 << 23) if b_before != int32(0) else 0))
    x, y = as_int(a), as_int(b)
    left = as_float(x & a_kept) - as_float(x & a_before)
    right = as_float(y & b_kept) - as_float(y & b_before)
    product = left * right
    exponent = int32(int32(x & int32(EXPONENT)) + int32(y & int32(EXPONENT)) - below)
    exponent = max(exponent, int32(0)) if product != float32(0) else int32(0)
    unit = as_float(int32(max(exponent, as_int(old) & int32(EXPONENT)) + int32((13 << 23) | 0x400000)))
    product += as_float(exponent) * float32(2.0**-12)
    destination = old * float32(1 + 2.0**-20)
    total = ((product + unit) - unit) + ((destination + unit) - unit)
    return away(total)


@njit(inline="always")
def multiplied_bf16(a: float, b: float, phases: int) -> float:
    """The same with BF16 destinations; operands that are not tame are multiplied plainly, as they reach the unit."""
    a, b = cut(a, BITS_11), cut(b, BITS_11)
    none, five, ten = int32(0), int32(BITS_5), int32(BITS_10)
    seven, eleven = int32(BITS_7), int32(BITS_11)
    total = phase_added(float32(0), a, b, five, none, seven, none)
    if phases > 1:
        total = phase_added(total, a, b, ten, five, seven, none)
    if phases > 2:
        total = phase_added(total, a, b, five, none, eleven, seven)
    if phases > 3:
        total = phase_added(total, a, b, ten, five, eleven, seven)
    tame = abs(a) < float32(LARGEST) and abs(b) < float32(LARGEST)
    return total if tame else a * b
