"""A product of matrices, the way the matrix unit and the packer go about it.

Shape legend: M rows, K inner size (a multiple of 16), N columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit

from pytest_ttbringup.emulation.numerics.compiled.bf16_step import add_step, find_units, split
from pytest_ttbringup.emulation.numerics.compiled.bits import as_float, as_int
from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH, exact

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]

PANEL = 16 * WIDTH

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
def add_tile_fp32(
    high: Array,
    low: Array,
    powers: Array,
    weights: Array,
    first: int,
    last: int,
    column: int,
    width: int,
    phases: int,
    panels: Array,
    tile: Array,
) -> None:
    """Add columns `first` … `last` of the activations (16 or 32) times as many rows of weights, from a column on, to
    FP32 destinations [M, WIDTH]: all in one phase, then all in the next (LLK `matmul_block`).
    """
    halves = (last - first) // 16
    for half in range(halves):
        load(panels[half], weights, first + 16 * half, column, width)
    for phase in range(phases):
        activations = low if phase & 2 else high
        below = int32((-5 if phase & 1 else 0) - (7 if phase & 2 else 0))
        for half in range(halves):
            part = slice(first + 16 * half, first + 16 * half + 16)
            for i in range(high.shape[0]):
                exact(
                    activations[i, part],
                    powers[i, part],
                    panels[half, phase & 1],
                    panels[half, 2],
                    below,
                    True,
                    tile[i],
                )


@njit(nogil=True, error_model="numpy", cache=True)
def add_tile_bf16(
    high: Array,
    low: Array,
    exponents: Bytes,
    weights: Array,
    first: int,
    last: int,
    column: int,
    width: int,
    phases: int,
    panels: Array,
    bytes_: Bytes,
    units: Array,
    edge: Array,
    largest: Words,
    tile: Array,
) -> None:
    """As `add_tile_fp32`, to BF16 destinations; what comes before `tile` is room to work in."""
    rows, inner = high.shape
    halves = (last - first) // 16
    for half in range(halves):
        row = first + 16 * half
        if width == WIDTH:
            split(
                weights,
                row * weights.shape[1] + column,
                weights.shape[1],
                panels,
                2 * half * PANEL,
                bytes_,
                half * PANEL,
                largest,
            )
        else:
            edge[:, :width] = weights[row : row + 16, column : column + width]
            split(edge, 0, WIDTH, panels, 2 * half * PANEL, bytes_, half * PANEL, largest)
    for i in range(rows):
        start = i * inner + first
        for half in range(halves):
            find_units(exponents, start + 16 * half, bytes_, half * PANEL, units, 2 * half * WIDTH)
        for phase in range(phases):
            activations = low if phase & 2 else high
            power = np.float32((2.0**-5 if phase & 1 else 1.0) * (2.0**-7 if phase & 2 else 1.0))
            for half in range(halves):
                panel = (2 * half + (phase & 1)) * PANEL
                add_step(
                    activations,
                    start + 16 * half,
                    panels,
                    panel,
                    units,
                    2 * half * WIDTH,
                    power,
                    tile,
                    i * WIDTH,
                )


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
    exponents: Bytes,
    weights: Array,
    out: Array,
    phases: int,
    fp32: bool,
    block: int,
    meeting: int,
    start: int,
    stop: int,
) -> int:
    """Add activations times weights to the columns `start` … `stop` of `out` [M, N]; the other columns are untouched.

    Args:
        high: [M, K], what phases 0 and 1 multiply of the activations, times 1 + 2 ** -14.
        low: [M, K], what phases 2 and 3 do, likewise.
        powers: [M, K], the power of two of each activation's exponent, for FP32 destinations.
        exponents: [M, K], of the activations, from `bf16_step.LOWEST` on, for BF16 ones.
        weights: [K, N].
        out: what the destinations hold before, and after.
        phases: 1 to 4.
        fp32: whether destinations are FP32, else BF16.
        block: of K, a multiple of 16.
        meeting: where blocks meet.
        start: a column.
        stop: a column.

    Returns:
        With BF16 destinations the weights' largest exponent, as `exponents` counts; else 0.
    """
    rows, inner = high.shape
    panels, edge = np.zeros((2, 3, PANEL), np.float32), np.zeros((16, WIDTH), np.float32)
    halves, bytes_ = np.zeros((2, 2, PANEL), np.float32), np.zeros((2, PANEL), np.uint8)
    units, largest = np.zeros((4, WIDTH), np.float32), np.zeros(8, np.int32)
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
                if fp32:
                    add_tile_fp32(high, low, powers, weights, k, end, j, width, phases, panels, tile)
                else:
                    room = (halves, bytes_, units, edge, largest)
                    add_tile_bf16(high, low, exponents, weights, k, end, j, width, phases, *room, tile)
            if meeting == IN_L1_TO_THE_END or (meeting == IN_L1 and last < inner):
                add_in_l1(partial, tile, first == 0, fp32)
        if meeting == IN_L1_TO_THE_END:
            tile[:] = partial
        out[:, j : j + width] = tile[:, :width]
    return largest.max()


@njit(nogil=True, error_model="numpy", cache=True)
def multiply_many(
    high: Array, low: Array, powers: Array, exponents: Bytes, weights: Array, out: Array, phases: int, fp32: bool
) -> int:
    """`multiply` without blocks for each of G: activations [G, M, K], weights [G, K, N], destinations [G, M, N]."""
    inner, columns = weights.shape[1], weights.shape[2]
    largest = 0
    for g in range(out.shape[0]):
        here = multiply(
            high[g],
            low[g],
            powers[g],
            exponents[g],
            weights[g],
            out[g],
            phases,
            fp32,
            inner,
            IN_DESTINATION,
            0,
            columns,
        )
        largest = max(largest, here)
    return largest
