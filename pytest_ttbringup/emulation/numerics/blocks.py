"""Into which blocks of the inner size TT-NN cuts a matmul.

Only what bears on values is here: a block's length. With BF16 destinations and L1 accumulation it decides how long
sums drift, and with a block format as output how often partial sums are rounded to it.

Source: TT-NN's matmul_program_config.cpp. Left out is what shortens blocks that would not fit in L1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ttnn

TILE = 32


def inner_block(
    a: ttnn.Tensor,
    b: ttnn.Tensor,
    output: ttnn.Tensor,
    *,
    shape: tuple[int, int, int],
    batched: bool,
    program_config: Any = None,
    core_grid: ttnn.CoreGrid | None = None,
) -> int:
    """The length of a block of the inner size, in elements, at most the inner size padded to tiles.

    Args:
        a: the activations, of which memory and device are looked at.
        b: the weights.
        output: the result.
        shape: rows of one matrix of `a`, inner size, columns; unpadded, after any transposition.
        batched: whether `b` holds several matrices.
        program_config: the caller's, if any.
        core_grid: the caller's, if any.
    """
    rows, inner, columns = (-(-size // TILE) for size in shape)
    if program_config is not None:
        return TILE * int(getattr(program_config, "in0_block_w", inner))
    if core_grid is not None:
        return TILE * _for_grid(rows, inner, columns, core_grid.x * core_grid.y, batched)
    sharded = a.memory_config()
    if sharded.is_sharded():
        return TILE * _for_shards(sharded, inner)
    return TILE * _interleaved(a, b, output, rows, inner, columns)


def _interleaved(a: ttnn.Tensor, b: ttnn.Tensor, output: ttnn.Tensor, rows: int, inner: int, columns: int) -> int:
    """`create_simple_matmul_program_config`: two tiles, unless all is in DRAM and neither side is narrow, where each
    column of cores has its share.
    """
    import ttnn

    pairs = 2 if inner % 2 == 0 else 1
    memories = [it.memory_config() for it in (a, b, output)]
    in_dram = all(it.buffer_type == ttnn.BufferType.DRAM and not it.is_sharded() for it in memories)
    narrow = max(rows, columns) // min(rows, columns) > 8 or (in_dram and min(rows, columns) == 1)
    if narrow:
        return pairs
    if in_dram:
        across = a.device().compute_with_storage_grid_size().x
        return inner // across if inner % across == 0 else 1
    return pairs


def _for_grid(rows: int, inner: int, columns: int, cores: int, batched: bool) -> int:
    """`create_matmul_program_config`: a share of the inner size for each core of a 1D grid, up to four tiles in 2D."""
    if batched:
        return 1
    narrow = max(rows, columns) // min(rows, columns) > 8
    most = -(-inner // cores) if narrow or min(rows, inner, columns) == 1 else 4
    return next(length for length in range(min(most, inner), 0, -1) if inner % length == 0)


def _for_shards(memory: ttnn.MemoryConfig, inner: int) -> int:
    """`get_matmul_program_config`: what a shard holds of the inner size; all of it in shards of rows."""
    import ttnn

    if memory.memory_layout == ttnn.TensorMemoryLayout.HEIGHT_SHARDED or memory.shard_spec is None:
        return inner
    return math.gcd(memory.shard_spec.shape[1] // TILE, inner) or 1
