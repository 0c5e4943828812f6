"""Bytes of one chip's DRAM that a model takes, split over so many chips by tensor parallelism."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.model_size import ModelSize

BYTES_PER_VALUE = {"float32": 4.0, "bfloat16": 2.0, "bfloat8_b": 1.0625, "bfloat4_b": 0.5625}
"""In tiles. In a block format 16 values share one byte of exponent beside their 8 or 4 bits each (TT-Metal's tile
sizes: 1088 and 576 bytes for 1024 values)."""

TRACE_REGION = 30_000_000
"""Bytes kept free of tensors for metal traces: `trace_region_size` of the demos of TT-NN's own LLM code
(models/tt_transformers)."""

PREFILL_CHUNK = 1024
"""Rows that one prefill computes at once, as the ladder's generator by default; longer prompts are read in chunks."""

TILE = 32
"""Rows and columns of a tile."""


@dataclass(frozen=True)
class Workload:
    """What the model shall do.

    Attributes:
        weights: format of the matrices; embedding tables and vectors are bfloat16.
        cache: format of the KV cache.
        batch: users decoded together.
        context: positions each of them has room for; the default is that of the 32-user demo of TT-NN's own LLM code.

    Raises:
        BringupError: a format that is none, a batch or context below 1.
    """

    weights: str = "bfloat8_b"
    cache: str = "bfloat8_b"
    batch: int = 32
    context: int = 1024

    def __post_init__(self) -> None:
        for what in ("weights", "cache"):
            value = getattr(self, what)
            if value not in BYTES_PER_VALUE:
                raise BringupError(f"--{what}={value}: no format of TT-NN. Choose one of {', '.join(BYTES_PER_VALUE)}.")
        for what in ("batch", "context"):
            value = getattr(self, what)
            if value < 1:
                raise BringupError(f"--{what}={value}: there must be at least one. For instance --{what}=32.")


@dataclass(frozen=True)
class Footprint:
    """Bytes on one chip. `total` is what must fit beside nothing else."""

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, and the region for traces."""
        return self.weights + self.cache + self.activations + TRACE_REGION


def footprint(size: ModelSize, work: Workload, tensor_parallel: int) -> Footprint:
    """What one of `tensor_parallel` chips holds.

    Matrices and embedding tables are split evenly, vectors are on every chip. KV heads are split, and held more than
    once where there are more chips than heads. Positions are rounded up to whole tiles of 32. Activations: the rows of
    one prefill chunk in bfloat16, four times the residual stream and twice the chip's part of the widest projection,
    which are alive at once in an MLP.
    """
    weights = (
        _up(size.matrices, tensor_parallel) * BYTES_PER_VALUE[work.weights]
        + _up(size.tables, tensor_parallel) * BYTES_PER_VALUE["bfloat16"]
        + size.vectors * BYTES_PER_VALUE["bfloat16"]
    )
    rows = min(PREFILL_CHUNK, work.context)
    columns = 4 * size.hidden + 2 * _up(size.widest, tensor_parallel)
    return Footprint(
        weights=round(weights),
        cache=round(work.batch * _up(work.context, TILE) * TILE * cache_bytes_per_token(size, work, tensor_parallel)),
        activations=round(rows * columns * BYTES_PER_VALUE["bfloat16"]),
    )


def cache_bytes_per_token(size: ModelSize, work: Workload, tensor_parallel: int) -> float:
    """Bytes of one chip for one position of one user, K and V of all layers."""
    heads = _up(size.kv_heads, tensor_parallel)
    return 2 * size.layers * heads * size.head_dim * BYTES_PER_VALUE[work.cache]


def _up(value: int, parts: int) -> int:
    return -(-value // parts)
