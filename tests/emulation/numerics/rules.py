"""The matrix unit's rules in exact fractions: slow, and written from the rules alone, to hold the compiled loops to."""

from __future__ import annotations

import math
from fractions import Fraction

ONE = Fraction(1)


def exponent(value: Fraction) -> int:
    """The e of |value| = m * 2 ** e with 1 <= m < 2."""
    e = math.frexp(float(value))[1] - 1
    assert ONE * 2**e <= abs(value) < ONE * 2 ** (e + 1) if e >= 0 else True
    return e


def unit(e: int) -> Fraction:
    return Fraction(2**e) if e >= 0 else Fraction(1, 2**-e)


def up(value: Fraction, step: Fraction) -> Fraction:
    """The nearest multiple of `step`, halves up."""
    return math.floor(value / step + Fraction(1, 2)) * step


def away(value: Fraction, step: Fraction) -> Fraction:
    """The nearest multiple of `step`, halves away from zero."""
    return up(value, step) if value >= 0 else -up(-value, step)


def cut(value: Fraction, bits: int) -> Fraction:
    """The first `bits` significant bits."""
    if not value:
        return value
    step = unit(exponent(value) - bits + 1)
    return math.trunc(value / step) * step


def multiply_16(a: list[float], b: list[float], destination: float, *, phase: int, fp32: bool) -> float:
    """One step: sixteen activations times sixteen weights in one phase, added to a destination."""
    groups = []
    for start in (0, 8):
        products, exponents = [], []
        for x, y in zip(map(Fraction, a[start : start + 8]), map(Fraction, b[start : start + 8]), strict=True):
            if not x or not y:
                continue
            left = cut(x, 11) - cut(x, 7) if phase & 2 else cut(x, 7)
            right = cut(y, 10) - cut(y, 5) if phase & 1 else cut(y, 5)
            products.append(left * right)
            exponents.append(exponent(x) + exponent(y) - (7 if phase & 2 else 0) - (5 if phase & 1 else 0))
        if products:
            top = max(exponents)
            groups.append((sum(away(it, unit(top - 10)) for it in products), top))
    old = Fraction(destination)
    tops = [top for _, top in groups] + ([exponent(old)] if old else [])
    if not tops:
        return 0.0
    top = max(tops)
    steps = [unit(top - 23)] if fp32 else [unit(top - 23), unit(top - 10)]
    sums = [Fraction(total) for total, _ in groups]
    for step in steps:
        sums, old = [up(it, step) for it in sums], away(old, step)
    total = sum(sums) + old
    return float(away(total, unit(exponent(total) - (23 if fp32 else 7)))) if total else 0.0
