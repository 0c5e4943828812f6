"""The matrix unit with FP32 destinations, where speed matters: sixteen of the inner size times WIDTH columns.

Phase 0 is computed bit by bit up to each group's sum, as `bf16_step` does it: its products are the ones whose rounding
to their group's unit shows in the last bit of a BF16 result. That of the other phases' is finer by 2 ** -5 or more and
is left out, and so is the alignment to the destination, which has 24 bits; `steps.exact` has both.

Rows are taken four at a time, so that eight chains of multiply-adds fill two units of four cycles each.

Each intrinsic takes arrays and offsets into them. Shape legend: a panel of 16 x WIDTH, held flat.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH
from pytest_ttbringup.emulation.numerics.compiled.vectors import FLOATS, Vectors

ROWS = 4
"""That a step takes at a time."""

_ABREAST = 2
"""Vectors of columns likewise."""

_LANES = FLOATS.count


def _chains(v: Vectors, a: Any, w: Any, inner: range, column: int, totals: list[list[Any]]) -> list[list[Any]]:
    """Multiply-adds onto [ROWS, _ABREAST] vectors, one after the other along the inner size."""
    for k in inner:
        row = [v.load(w, k * WIDTH + column + c * _LANES, FLOATS) for c in range(_ABREAST)]
        for r in range(ROWS):
            repeated = v.element(a, r * 16 + k, FLOATS)
            totals[r] = [v.multiply_add(repeated, x, total) for x, total in zip(row, totals[r], strict=True)]
    return totals


def _blocks(v: Vectors, place: Any, column: int, stride: int) -> list[list[Any]]:
    """Of WIDTH columns of ROWS rows, `stride` apart, the vectors from a column on."""
    return [[v.load(place, r * stride + column + c * _LANES, FLOATS) for c in range(_ABREAST)] for r in range(ROWS)]


def _store(v: Vectors, vectors: list[list[Any]], place: Any, column: int) -> None:
    for r, row in enumerate(vectors):
        for c, vector in enumerate(row):
            v.store(vector, place, r * WIDTH + column + c * _LANES)


@intrinsic
def add_aligned(_: Any, activations: Any, at: Any, weights: Any, panel: Any, units: Any, out: Any, to: Any) -> Any:
    """Add activations [ROWS, 16], side by side, times a panel to destinations [ROWS, WIDTH]: phase 0.

    `units` [ROWS, 2, WIDTH] are those of `bf16_step.find_units`.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        v, kinds = Vectors(context, builder), signature.args
        a, w, destination = (v.place(kinds[k], given[k], given[k + 1]) for k in (0, 2, 5))
        m = v.place(kinds[4], given[4], ir.Constant(ir.IntType(64), 0))
        for column in range(0, WIDTH, _ABREAST * _LANES):
            for group in (0, 1):
                tops = _blocks(v, m, group * WIDTH + column, 2 * WIDTH)
                totals = _chains(v, a, w, range(8 * group, 8 * group + 8), column, [list(row) for row in tops])
                old = _blocks(v, destination, column, WIDTH)
                _store(
                    v,
                    [
                        [builder.fadd(d, builder.fsub(t, top)) for d, t, top in zip(*rows, strict=True)]
                        for rows in zip(old, totals, tops, strict=True)
                    ],
                    destination,
                    column,
                )
        return context.get_dummy_value()

    return types.void(activations, at, weights, panel, units, out, to), generate


@intrinsic
def add_plain(_: Any, activations: Any, at: Any, weights: Any, panel: Any, out: Any, to: Any) -> Any:
    """The same of another phase, as an ordinary product."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        v, kinds = Vectors(context, builder), signature.args
        a, w, destination = (v.place(kinds[k], given[k], given[k + 1]) for k in (0, 2, 4))
        for column in range(0, WIDTH, _ABREAST * _LANES):
            totals = _chains(v, a, w, range(16), column, _blocks(v, destination, column, WIDTH))
            _store(v, totals, destination, column)
        return context.get_dummy_value()

    return types.void(activations, at, weights, panel, out, to), generate
