"""What an operation must do at least: bytes of DRAM, operations of the matrix unit, bytes between chips.

Every count is a lower one, so that a time computed from it is one that no kernel beats:

- An operand in DRAM is read once and a result written once, however often a kernel does it. What is in L1 is free.
- Of a table only the rows looked up are read, of a KV cache only the tiles up to the user's position.
- Matrix products are those of matmul and attention. Other operations (norms, rotary embedding, element-wise ones) use
  the vector unit, whose peak is not published, or small products; they count their bytes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from pytest_ttbringup.planning.footprint import TILE
from pytest_ttbringup.planning.roofline.operations import (
    ALL_GATHER,
    BYTES_PER_VALUE,
    REDUCE_SCATTER,
    Operation,
    up,
)


class Step(NamedTuple):
    """What the shapes of a decode step do not say: users that take part, and the position of the token each reads."""

    users: int = 32
    position: int = 128


FULL_STEP = Step()
"""All 32 users behind a prompt of 128 tokens."""


class Work(NamedTuple):
    """Of one operation on one chip.

    Attributes:
        dram: bytes read from and written to DRAM.
        flops: operations of the matrix unit; a multiplication and an addition count as two.
        ethernet: bytes through the narrowest place between chips.
    """

    dram: float = 0.0
    flops: float = 0.0
    ethernet: float = 0.0

    @classmethod
    def of(cls, operation: Operation, step: Step = FULL_STEP) -> Work:
        """Count `operation`.

        Args:
            operation: as it was recorded.
            step: the users and positions of a decode step; of no effect on others.
        """
        rule = _RULES.get(operation.kind, _moves_all)
        return rule(operation, step)


def _moves_all(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    return Work(dram=sum(it.size for it in (*operation.inputs, *operation.outputs) if it.in_dram))


def _matmul(operation: Operation, step: Step) -> Work:
    """2MNK on tiles: every column of the output takes the whole inner dimension."""
    left, right = operation.inputs[:2]
    inner = left.padded[-1]
    rows = math.prod(left.padded[:-1])
    columns = right.padded[-1] if right.padded[-2] == inner else right.padded[-2]
    return Work(dram=_moves_all(operation, step).dram, flops=2.0 * rows * inner * columns)


def _decode_attention(operation: Operation, step: Step) -> Work:
    """Query [1, B, H, h], keys and values [B, K, S, h] or paged: the scores' product and the values'.

    Positions are rounded up to tiles of 32 in the bytes; the products count those attended to.
    """
    query, keys, values = operation.inputs[:3]
    heads, head_dim = query.shape[-2:]
    kv_heads = keys.shape[1]
    attended = step.position + 1
    read = step.users * kv_heads * up(attended, TILE) * up(head_dim, TILE)
    cache = sum(read * BYTES_PER_VALUE[it.dtype] for it in (keys, values) if it.in_dram)
    others = (query, *operation.outputs)
    return Work(
        dram=cache + sum(it.size for it in others if it.in_dram),
        flops=2.0 * 2.0 * step.users * heads * attended * head_dim,
    )


def _prefill_attention(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    """Query [1, H, S, h], keys and values [1, K, S, h], or the cache behind a page table for a later chunk.

    A causal one multiplies half of the square of its own rows, and all that is before them.
    """
    query, keys, values = operation.inputs[:3]
    batch, heads, rows, head_dim = query.padded
    kv_heads = keys.padded[1]
    chunked = len(operation.inputs) > 3 and not operation.inputs[3].tiled
    length = operation.start + rows if chunked else keys.padded[-2]
    pairs = rows * operation.start + rows * (rows + 1) / 2 if operation.causal or chunked else rows * length
    read = batch * kv_heads * length * head_dim
    cache = sum(read * BYTES_PER_VALUE[it.dtype] for it in (keys, values) if it.in_dram)
    others = (query, *operation.outputs)
    return Work(
        dram=cache + sum(it.size for it in others if it.in_dram), flops=2.0 * 2.0 * batch * heads * pairs * head_dim
    )


def _embedding(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    tokens, table = operation.inputs[:2]
    rows = math.prod(tokens.shape) * table.shape[-1] * BYTES_PER_VALUE[table.dtype] if table.in_dram else 0.0
    return Work(dram=rows + sum(it.size for it in (tokens, *operation.outputs) if it.in_dram))


def _update_cache(operation: Operation, step: Step) -> Work:
    """One row of each user and KV head: its tiles are read, changed and written back."""
    cache, row = operation.inputs[:2]
    tiles = step.users * cache.shape[1] * TILE * up(cache.shape[-1], TILE)
    moved = 2 * tiles * BYTES_PER_VALUE[cache.dtype] if cache.in_dram else 0.0
    return Work(dram=moved + (row.size if row.in_dram else 0.0))


def _fill_cache(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    """The rows given are written to the cache, in its format."""
    cache, rows = operation.inputs[:2]
    written = math.prod(rows.padded) * BYTES_PER_VALUE[cache.dtype] if cache.in_dram else 0.0
    return Work(dram=written + (rows.size if rows.in_dram else 0.0))


def _slice(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    """What is taken is read, and written."""
    source = operation.inputs[0]
    taken = [it.size for it in operation.outputs]
    return Work(dram=(sum(taken) if source.in_dram else 0.0) + sum(it.size for it in operation.outputs if it.in_dram))


def _in_place(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    return Work(dram=2 * sum(it.size for it in operation.inputs if it.in_dram))


def _collective(operation: Operation, step: Step) -> Work:  # noqa: ARG001
    """(N - 1) / N of the whole tensor pass each place between N chips (TT-Metal, tech_reports/CCLs/CCL_bandwidth.md).

    What a kernel keeps in between is not counted.
    """
    ends = (operation.inputs[0], operation.result)
    whole = max(it.size for it in ends)
    passed = (operation.chips - 1) / operation.chips * whole
    return Work(dram=sum(it.size for it in ends if it.in_dram), ethernet=passed)


_RULES: dict[str, Callable[[Operation, Step], Work]] = {
    "Matmul": _matmul,
    "MinimalMatmul": _matmul,
    "SdpaDecode": _decode_attention,
    "SDPA": _prefill_attention,
    "Embeddings": _embedding,
    "PagedUpdateCache": _update_cache,
    "UpdateKVCache": _fill_cache,
    "PagedFillCache": _fill_cache,
    "Slice": _slice,
    "PlusOne": _in_place,
    ALL_GATHER: _collective,
    REDUCE_SCATTER: _collective,
}
