"""One layer's keys and values of the positions so far: what attention needs of them, and what all caches share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import ModelConfig
from .precision import PrecisionConfig
from .prefill_chunk import PrefillChunk
from .sdpa import sdpa_prefill_program_config


class KVCache(Protocol):
    """What attention needs of a cache.

    Keys are kept as the attention module makes them: rotated, in interleaved order (see `rope`).

    Each chip holds its own users and its own KV heads; on the host are those of all chips.

    Shapes: B users, H heads, K KV heads, S positions, h head size; in a prefill S rows. `positions` is int32 [B],
    row-major, on the device; a user at position -1 is left out: nothing is written, and its attention is undefined.
    """

    dtype: ttnn.DataType
    """The format of keys and values."""

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        """Write key and value, each [1, B, K, h] with one user per core, at each user's position."""

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        """Attention of query [1, B, H, h], one user per core, to all positions up to the user's own → [1, B, H, h]."""

    def fill(self, key: ttnn.Tensor, value: ttnn.Tensor, chunk: PrefillChunk) -> None:
        """Write key and value of a prefill, each [1, K, S, h] in the cache's format, at the chunk's positions.

        Padding is written up to the end of the last token's tile, in data parallel of the instance with most tokens;
        no other position, no other user's, and nothing of an instance that takes no part, changes.

        Raises:
            BringupError: the chunk does not start with a block of the cache.
        """

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        """Causal attention of query [1, H, S, h] to the user's positions up to each row's own → [1, H, S, h].

        For a chunk behind others of its prompt, whose keys and values are in the cache already, like its own.
        """

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values on the host, each [B, K, S, h].

        Raises:
            AssertionError: chips that hold the same KV head differ.
        """

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace all keys and values by those on the host, each [B, K, S, h]: a past that was computed elsewhere.

        Raises:
            BringupError: they have another shape.
        """


def zeros(shape: tuple[int, ...], mesh_device: ttnn.MeshDevice, precision: PrecisionConfig) -> ttnn.Tensor:
    """Room for keys or values, of this shape on every chip."""
    return ttnn.zeros(
        shape,
        dtype=precision.kv_cache,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )


def read(tensor: ttnn.Tensor, config: ModelConfig) -> torch.Tensor:
    """[B or blocks of a chip, a chip's KV heads, positions, h] on each chip → [B or all blocks, K, positions, h]."""
    return config.head_split.from_slots(config.parallelism.join(tensor, data=0, tensor_dim=1))


def write(values: torch.Tensor, tensor: ttnn.Tensor, config: ModelConfig) -> None:
    """The way back of `read`."""
    host = ttnn.from_torch(
        config.head_split.to_slots(values),
        dtype=tensor.dtype,
        layout=tensor.layout,
        mesh_mapper=config.parallelism.to_mesh(tensor.device(), data=0, tensor=1),
    )
    ttnn.copy_host_to_device_tensor(host, tensor)


def check_shapes(config: ModelConfig, *tensors: torch.Tensor) -> None:
    """Refuse keys and values that are not [B, K, S, h].

    Raises:
        BringupError: one is not.
    """
    expected = [config.users, config.num_kv_heads, config.max_seq_len, config.head_dim]
    for tensor in tensors:
        if list(tensor.shape) != expected:
            raise BringupError(f"Keys and values must have shape {expected}; {list(tensor.shape)} given.")


def attend_chunk(
    query: ttnn.Tensor,
    keys: ttnn.Tensor,
    values: ttnn.Tensor,
    blocks: ttnn.Tensor,
    chunk: PrefillChunk,
    *,
    scale: float,
    kernel_config: ttnn.DeviceComputeKernelConfig,
) -> ttnn.Tensor:
    """`KVCache.attend_prefill` to the blocks of the chunk's user, which are freed."""
    attended = ttnn.transformer.chunked_scaled_dot_product_attention(
        query,
        keys,
        values,
        blocks,
        chunk_start_idx=chunk.start,
        scale=scale,
        program_config=sdpa_prefill_program_config(query.device(), rows=chunk.rows, start=chunk.start),
        compute_kernel_config=kernel_config,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )
    ttnn.deallocate(blocks)
    return attended


@contextmanager
def filled_rows(heads: ttnn.Tensor, chunk: PrefillChunk) -> Iterator[ttnn.Tensor]:
    """[1, K, S, h] without the tiles that hold padding only, for as long as they are written."""
    if chunk.filled_rows == chunk.rows:
        yield heads
        return
    _, kv_heads, _, head_dim = heads.shape
    rows = ttnn.slice(heads, (0, 0, 0, 0), (1, kv_heads, chunk.filled_rows, head_dim))
    yield rows
    ttnn.deallocate(rows)
