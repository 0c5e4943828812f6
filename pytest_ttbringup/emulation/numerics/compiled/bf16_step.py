"""The matrix unit with BF16 destinations, bit for bit, in floats: sixteen of the inner size times WIDTH columns.

A float of 1.5 * 2 ** 13 times a power of two has that power's 2 ** -10 as its last bit, so that what is added to it is
rounded to that unit: a group's eight products one after the other, as multiply-adds, and then, with the larger of all
powers, the two groups' sums and the destination. So said ttsim's rules cost no integer arithmetic (`destination.py` has
them as they are, and the tests hold both to the same fractions).

Halves: activations come times 1 + 2 ** -14, which makes those of products go away from zero; a group's sum gets a part
of its unit on top, which makes its halves go up and changes nothing else; and a destination, of eight bits, is taken
times 1 + 2 ** -20, so that its halves go away from zero.

Each intrinsic takes arrays and offsets into them. Shape legend: a panel of 16 x WIDTH, held flat.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH
from pytest_ttbringup.emulation.numerics.compiled.vectors import BYTES, FEW_BYTES, FLOATS, WORDS, Vectors

LOWEST = 63
"""The biased exponent that is counted as zero; so both factors' together fit a byte."""

TOP = 127
"""The largest exponent as counted: what lies above is not tame."""

_UNIT = (13 << 23) | 0x400000
"""Added to the bits of a power of two: 1.5 * 2 ** 13 times that power."""

_SIDE_BY_SIDE = 4
"""Vectors whose chains of multiply-adds are interleaved, so that none waits for its own last result."""

_LANES = FLOATS.count
_LINE = 16
"""Floats of a cache's line."""


@intrinsic
def split(
    _: Any, weights: Any, at: Any, stride: Any, panels: Any, to: Any, exponents: Any, low: Any, largest: Any
) -> Any:
    """Sixteen rows of WIDTH weights, `stride` apart, into two panels, of what even phases multiply of them and of what
    odd phases do, and a panel of bytes: their exponents, from `LOWEST` on. `largest` [8], of int32, is raised to them.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        v, kinds = Vectors(context, builder), signature.args
        source = v.place(kinds[0], given[0], given[1])
        target, bytes_ = v.place(kinds[3], given[3], given[4]), v.place(kinds[5], given[5], given[6])
        seen = v.place(kinds[7], given[7], ir.Constant(ir.IntType(64), 0))
        most = v.load(seen, 0, WORDS)
        ahead = builder.shl(given[2], ir.Constant(ir.IntType(64), 4))
        for row in range(16):
            for column in range(0, WIDTH, _LINE):
                v.fetch(v.after(v.after(source, ahead), column))
            for column in range(0, WIDTH, _LANES):
                bits = v.words(v.load(source, column, FLOATS))
                high = v.floats(builder.and_(bits, v.constant(-0x80000, WORDS)))
                all_bits = v.floats(builder.and_(bits, v.constant(-0x4000, WORDS)))
                v.store(high, target, row * WIDTH + column)
                v.store(builder.fsub(all_bits, high), target, (16 + row) * WIDTH + column)
                exponent = builder.and_(builder.lshr(bits, v.constant(23, WORDS)), v.constant(255, WORDS))
                exponent = builder.sub(exponent, v.constant(LOWEST, WORDS))
                exponent = v.smaller(v.larger(exponent, v.constant(0, WORDS)), v.constant(TOP, WORDS))
                most = v.larger(most, exponent)
                v.store(builder.trunc(exponent, FEW_BYTES), bytes_, row * WIDTH + column)
            source = v.after(source, given[2])
        v.store(most, seen, 0)
        return context.get_dummy_value()

    return types.void(weights, at, stride, panels, to, exponents, low, largest), generate


@intrinsic
def find_units(_: Any, activations: Any, at: Any, weights: Any, panel: Any, units: Any, to: Any) -> Any:
    """Of sixteen activations' exponents and a panel of them: for both groups and each column, 1.5 * 2 ** 13 times the
    largest product's power of two [2, WIDTH].
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        v, kinds = Vectors(context, builder), signature.args
        a, w, out = (v.place(kinds[k], given[k], given[k + 1]) for k in (0, 2, 4))
        # of biased exponents x + LOWEST and y + LOWEST the product's is x + y + 2 * LOWEST - 127
        constant = v.constant(((2 * LOWEST - 127) << 23) + _UNIT, WORDS)
        for group in (0, 1):
            rows = range(8 * group, 8 * group + 8)
            repeated = [v.element(a, k, BYTES) for k in rows]
            for column in range(0, WIDTH, BYTES.count):
                sums = [
                    builder.add(x, v.load(w, k * WIDTH + column, BYTES)) for k, x in zip(rows, repeated, strict=True)
                ]
                top = sums[0]
                for other in sums[1:]:
                    top = v.larger(top, other, signed=False)
                for first in range(0, BYTES.count, _LANES):
                    wide = builder.zext(v.part(top, first, _LANES), WORDS)
                    bits = builder.add(builder.shl(wide, v.constant(23, WORDS)), constant)
                    v.store(v.floats(bits), out, group * WIDTH + column + first)
        return context.get_dummy_value()

    return types.void(activations, at, weights, panel, units, to), generate


@intrinsic
def add_step(
    _: Any, activations: Any, at: Any, weights: Any, panel: Any, units: Any, of: Any, power: Any, out: Any, to: Any
) -> Any:
    """Add sixteen activations times a panel to WIDTH destinations.

    `power` is by how much the phase's parts lie below their operands' exponents, for which `units` stand.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        v, kinds = Vectors(context, builder), signature.args
        a, w, m = (v.place(kinds[k], given[k], given[k + 1]) for k in (0, 2, 4))
        destination = v.place(kinds[7], given[7], given[8])
        phase = v.repeated(given[6], FLOATS)
        repeated = [v.element(a, k, FLOATS) for k in range(16)]

        def sums(group: int, columns: list[int]) -> list[tuple[Any, Any]]:
            tops = [builder.fmul(v.load(m, group * WIDTH + column, FLOATS), phase) for column in columns]
            totals = list(tops)
            for k in range(8 * group, 8 * group + 8):
                totals = [
                    v.multiply_add(repeated[k], v.load(w, k * WIDTH + column, FLOATS), total)
                    for column, total in zip(columns, totals, strict=True)
                ]
            up = v.constant(2.0**-26, FLOATS)
            pairs = zip(totals, tops, strict=True)
            return [(v.multiply_add(top, up, builder.fsub(total, top)), top) for total, top in pairs]

        for start in range(0, WIDTH, _SIDE_BY_SIDE * _LANES):
            columns = list(range(start, start + _SIDE_BY_SIDE * _LANES, _LANES))
            for column, first, second in zip(columns, sums(0, columns), sums(1, columns), strict=True):
                v.store(_met(v, first, second, v.load(destination, column, FLOATS)), destination, column)
        return context.get_dummy_value()

    return types.void(activations, at, weights, panel, units, of, power, out, to), generate


def _met(v: Vectors, first: tuple[Any, Any], second: tuple[Any, Any], old: Any) -> Any:
    """What destinations hold after two groups' sums, each beside its unit, were added."""
    build = v.build
    exponent = build.and_(v.words(old), v.constant(0x7F800000, WORDS))
    own = build.add(exponent, v.constant(_UNIT, WORDS))
    unit = v.floats(v.larger(v.larger(v.words(first[1]), v.words(second[1])), own))
    away = build.fmul(old, v.constant(1 + 2.0**-20, FLOATS))
    terms = [build.fsub(build.fadd(it, unit), unit) for it in (first[0], second[0], away)]
    total = v.words(build.fadd(build.fadd(terms[0], terms[1]), terms[2]))
    rounded = build.add(total, v.constant(0x8000, WORDS))
    return v.floats(build.and_(rounded, v.constant(-0x10000, WORDS)))
