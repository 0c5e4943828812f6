"""A product of matrices, the way the matrix unit and the packer go about it.

Shape legend: M rows, K inner size (a multiple of 16), N columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH, exact, quick_bf16

Array = npt.NDArray[np.float32]

QUICK, EXACT_BF16, EXACT_FP32 = 0, 1, 2
"""Which step function."""

IN_DESTINATION, IN_L1, IN_L1_TO_THE_END = 0, 1, 2
"""Where blocks of the inner size meet: in the destination; in L1, and the last block continues from there; in L1, the
last one, too (with a bias, which is added to what L1 holds). `bmm_large_block_zm_fused_bias_activation.cpp`.
"""


@njit(nogil=True, error_model="numpy", cache=True)
def load(panels: Array, weights: Array, row: int, column: int, width: int) -> None:
    """Sixteen rows of at most WIDTH weights into three panels: what even phases multiply of them, what odd phases do,
    and the powers of two of their exponents.

    It takes the place in all of [K, N] and no slice, of which numba would not know that columns lie side by side.
    """
    for r in range(16):
        for c in range(width):
            bits = as_int(weights[row + r, column + c])
            high = as_float(bits & int32(-0x80000))
            panels[0, r * WIDTH + c] = high
            panels[1, r * WIDTH + c] = as_float(bits & int32(-0x4000)) - high
            panels[2, r * WIDTH + c] = as_float(bits & int32(0x7F800000))


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_panel(activations: Array, powers: Array, panels: Array, phase: int, step: int, tile: Array) -> None:
    """Add activations [M, 16] times a panel to the destinations [M, WIDTH], in one phase."""
    weights, weight_powers = panels[phase & 1], panels[2]
    below = int32((-5 if phase & 1 else 0) - (7 if phase & 2 else 0))
    for i in range(activations.shape[0]):
        if step == QUICK:
            quick_bf16(activations[i], weights, tile[i])
        else:
            exact(activations[i], powers[i], weights, weight_powers, below, step == EXACT_FP32, tile[i])


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_tile(
    high: Array, low: Array, powers: Array, panels: Array, first: int, last: int, phases: int, step: int, tile: Array
) -> None:
    """Add columns `first` … `last` of the activations (16 or 32) times panels: all in one phase, then all in the next
    (LLK `matmul_block`).
    """
    for phase in range(phases):
        activations = low if phase & 2 else high
        for half in range((last - first) // 16):
            part = slice(first + 16 * half, first + 16 * half + 16)
            multiply_panel(activations[:, part], powers[:, part], panels[half], phase, step, tile)


@njit(nogil=True, error_model="numpy", cache=True)
def add_in_l1(partial: Array, tile: Array, first: bool, fp32: bool) -> None:
    """The packer adds a block's destinations to what L1 holds, in FP32 or in BF16 with ties to even (ttsim,
    `pack_l1_acc_bf16`); the first block's are written over it.
    """
    for i in range(tile.shape[0]):
        for c in range(WIDTH):
            value = tile[i, c] if first else partial[i, c] + tile[i, c]
            if not fp32:
                bits = as_int(value)
                value = as_float((bits + int32(0x7FFF) + ((bits >> int32(16)) & int32(1))) & int32(-0x10000))
            partial[i, c] = value


@njit(nogil=True, error_model="numpy", cache=True)
def multiply(
    high: Array,
    low: Array,
    powers: Array,
    weights: Array,
    out: Array,
    phases: int,
    step: int,
    block: int,
    meeting: int,
    start: int,
    stop: int,
) -> None:
    """Add activations times weights to the columns `start` … `stop` of `out` [M, N]; the other columns are untouched.

    Args:
        high: [M, K], what phases 0 and 1 multiply of the activations; for exact steps see `exact`.
        low: [M, K], what phases 2 and 3 do.
        powers: [M, K], for exact steps.
        weights: [K, N].
        out: what the destinations hold before, and after.
        phases: 1 to 4.
        step: a step function.
        block: of K, a multiple of 16.
        meeting: where blocks meet.
        start: a column.
        stop: a column.
    """
    rows, inner = high.shape
    panels = np.zeros((2, 3, 16 * WIDTH), np.float32)
    tile, partial = np.zeros((rows, WIDTH), np.float32), np.zeros((rows, WIDTH), np.float32)
    for j in range(start, stop, WIDTH):
        width = min(WIDTH, stop - j)
        tile[:, :width] = out[:, j : j + width]
        for first in range(0, inner, block):
            last = min(first + block, inner)
            if meeting != IN_DESTINATION and first > 0:
                if last == inner and meeting == IN_L1:
                    tile[:] = partial
                else:
                    tile[:] = np.float32(0)
            for k in range(first, last, 32):
                end = min(last, k + 32)
                for half in range((end - k) // 16):
                    load(panels[half], weights, k + 16 * half, j, width)
                multiply_tile(high, low, powers, panels, k, end, phases, step, tile)
            if meeting == IN_L1_TO_THE_END or (meeting == IN_L1 and last < inner):
                add_in_l1(partial, tile, first == 0, step == EXACT_FP32)
        if meeting == IN_L1_TO_THE_END:
            tile[:] = partial
        out[:, j : j + width] = tile[:, :width]


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_many(high: Array, low: Array, powers: Array, weights: Array, out: Array, phases: int, step: int) -> None:
    """`multiply` without blocks for each of G: activations [G, M, K], weights [G, K, N], destinations [G, M, N]."""
    inner, columns = weights.shape[1], weights.shape[2]
    for g in range(out.shape[0]):
        multiply(high[g], low[g], powers[g], weights[g], out[g], phases, step, inner, IN_DESTINATION, 0, columns)
