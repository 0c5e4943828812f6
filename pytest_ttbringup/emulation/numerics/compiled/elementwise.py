"""Element-wise sums, products and roundings.

A second operand [rows * row_step + columns * column_step] has a value for each element (steps `columns` and 1), for
each row (1 and 0), for each column (0 and 1), or one in all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from pytest_ttbringup.emulation.numerics.compiled.scalars import added, away, multiplied_bf16, multiplied_fp32

Array = npt.NDArray[np.float32]
Operation = Callable[[float, float, int], float]


@njit(inline="always")
def _of_pairs(one: Operation, a: Array, b: Array, out: Array, row_step: int, column_step: int, option: int) -> None:
    """Fill `out` [rows, columns] with `one(a, b, option)` of each pair of values."""
    for i in range(a.shape[0]):
        x, to = a[i], out[i]
        y = b[i * row_step : i * row_step + (a.shape[1] if column_step else 1)]
        if column_step:
            for j in range(x.shape[0]):
                to[j] = one(x[j], y[j], option)
        else:
            value = y[0]
            for j in range(x.shape[0]):
                to[j] = one(x[j], value, option)


@njit(nogil=True, error_model="numpy", cache=True)
def add(a: Array, b: Array, out: Array, row_step: int, column_step: int, fp32: bool) -> None:
    """Add `b` to `a` [rows, columns], as `adding.add` does."""
    if fp32:
        _of_pairs(added, a, b, out, row_step, column_step, True)
    else:
        _of_pairs(added, a, b, out, row_step, column_step, False)


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_fp32(a: Array, b: Array, out: Array, row_step: int, column_step: int, phases: int) -> None:
    """Multiply `a` [rows, columns], in SrcA, by `b`, in SrcB, with FP32 destinations."""
    _of_pairs(multiplied_fp32, a, b, out, row_step, column_step, phases)


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_bf16(a: Array, b: Array, out: Array, row_step: int, column_step: int, phases: int) -> None:
    """The same with BF16 destinations."""
    _of_pairs(multiplied_bf16, a, b, out, row_step, column_step, phases)


@njit(nogil=True, error_model="numpy", cache=True)
def round_away(values: Array, out: Array) -> None:
    """Flat values to BF16, ties away from zero."""
    for i in range(values.shape[0]):
        out[i] = away(values[i])


@njit(nogil=True, error_model="numpy", cache=True)
def rotate(x: Array, rotated: Array, cos: Array, sin: Array, out: Array, phases: int, fp32: bool) -> None:
    """X * cos + rotated * sin; the products and their sum are packed to BF16. [rows, H h], cos and sin [rows, h]."""
    size = cos.shape[1]
    for row in range(x.shape[0]):
        c, s = cos[row], sin[row]
        for start in range(0, x.shape[1], size):
            a, b = x[row, start : start + size], rotated[row, start : start + size]
            to = out[row, start : start + size]
            if fp32:
                for i in range(size):
                    first, second = multiplied_fp32(a[i], c[i], phases), multiplied_fp32(b[i], s[i], phases)
                    to[i] = away(added(away(first), away(second), True))
            else:
                for i in range(size):
                    first, second = multiplied_bf16(a[i], c[i], phases), multiplied_bf16(b[i], s[i], phases)
                    to[i] = added(away(first), away(second), False)  # plain products are not in BF16 yet
