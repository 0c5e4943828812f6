"""One layer's keys and values of the positions so far: contiguous or paged, behind one interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, ModelConfig
from .layouts import replicated
from .page_table import PageTable
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .sdpa import sdpa_prefill_program_config, sdpa_program_config


class KVCache(Protocol):
    """What attention needs of a cache.

    Keys are kept as the attention module makes them: rotated, in interleaved order (see `rope`).

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

        Padding is written in the last token's tile only; no other position, and no other user's, changes.

        Raises:
            BringupError: the chunk does not start with a block of the cache.
        """

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        """Causal attention of query [1, H, S, h] to the user's positions up to each row's own → [1, H, S, h].

        For a chunk behind others of its prompt, whose keys and values are in the cache already, like its own.
        """

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values on the host, each [B, K, S, h]."""

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace all keys and values by those on the host, each [B, K, S, h]: a past that was computed elsewhere.

        Raises:
            BringupError: they have another shape.
        """


class ContiguousKVCache:
    """A `KVCache` with room for S positions of every user: keys and values are [B, K, S, h].

    Args:
        mesh_device: where it lies.
        config: sizes.
        precision: format of the cache and math of attention.
    """

    def __init__(
        self, mesh_device: ttnn.MeshDevice, config: ModelConfig, *, precision: PrecisionConfig = DEFAULT_PRECISION
    ) -> None:
        self.shape = _user_shape(config)
        self.dtype = precision.kv_cache
        self.keys = _zeros(self.shape, mesh_device, precision)
        self.values = _zeros(self.shape, mesh_device, precision)
        self.users = PageTable.whole_users(mesh_device, config)
        self.program_config = sdpa_program_config(mesh_device, config)
        self.kernel_config = precision.sdpa_decode_math.kernel_config(mesh_device)
        self.prefill_kernel_config = precision.sdpa_prefill_math.kernel_config(mesh_device)

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        ttnn.experimental.paged_update_cache(self.keys, key, update_idxs_tensor=positions)
        ttnn.experimental.paged_update_cache(self.values, value, update_idxs_tensor=positions)

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        return ttnn.transformer.scaled_dot_product_attention_decode(
            query,
            self.keys,
            self.values,
            cur_pos_tensor=positions,
            scale=scale,
            program_config=self.program_config,
            compute_kernel_config=self.kernel_config,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        )

    def fill(self, key: ttnn.Tensor, value: ttnn.Tensor, chunk: PrefillChunk) -> None:
        for heads, cache in ((key, self.keys), (value, self.values)):
            with _filled_rows(heads, chunk) as rows:
                ttnn.fill_cache(cache, rows, chunk.user, update_idx=chunk.start)

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        return _attend_chunk(self, self.users, query, chunk, scale)

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _read(self.keys), _read(self.values)

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        _check_shapes(self.shape, keys, values)
        _write(keys, self.keys)
        _write(values, self.values)


class PagedKVCache:
    """A `KVCache` in blocks: keys and values are [blocks, K, block size, h], found by a page table.

    Args:
        mesh_device: where it lies.
        config: sizes.
        page_table: where each user's positions are.
        precision: format of the cache and math of attention.
    """

    def __init__(
        self,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        *,
        page_table: PageTable,
        precision: PrecisionConfig = DEFAULT_PRECISION,
    ) -> None:
        self.shape = _user_shape(config)
        self.dtype = precision.kv_cache
        self.page_table = page_table
        blocks = (page_table.rows.numel(), config.num_kv_heads, page_table.block_size, config.head_dim)
        self.keys = _zeros(blocks, mesh_device, precision)
        self.values = _zeros(blocks, mesh_device, precision)
        self.program_config = sdpa_program_config(mesh_device, config)
        self.kernel_config = precision.sdpa_decode_math.kernel_config(mesh_device)
        self.prefill_kernel_config = precision.sdpa_prefill_math.kernel_config(mesh_device)

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        table = self.page_table.device_rows
        ttnn.experimental.paged_update_cache(self.keys, key, update_idxs_tensor=positions, page_table=table)
        ttnn.experimental.paged_update_cache(self.values, value, update_idxs_tensor=positions, page_table=table)

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        return ttnn.transformer.paged_scaled_dot_product_attention_decode(
            query,
            self.keys,
            self.values,
            cur_pos_tensor=positions,
            page_table_tensor=self.page_table.device_rows,
            scale=scale,
            program_config=self.program_config,
            compute_kernel_config=self.kernel_config,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        )

    def fill(self, key: ttnn.Tensor, value: ttnn.Tensor, chunk: PrefillChunk) -> None:
        blocks = self.page_table.stretch(chunk.user, chunk.start, chunk.start + chunk.filled_rows)
        for heads, cache in ((key, self.keys), (value, self.values)):
            with _filled_rows(heads, chunk) as rows:
                ttnn.experimental.paged_fill_cache(cache, rows, blocks, batch_idx=0)
        ttnn.deallocate(blocks)

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        return _attend_chunk(self, self.page_table, query, chunk, scale)

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._gather(_read(self.keys)), self._gather(_read(self.values))

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        _check_shapes(self.shape, keys, values)
        _write(self._scatter(keys), self.keys)
        _write(self._scatter(values), self.values)

    def _scatter(self, users: torch.Tensor) -> torch.Tensor:
        blocks = users.unflatten(2, (-1, self.page_table.block_size))  # [B, K, blocks per user, block size, h]
        in_users_order: torch.Tensor = blocks.transpose(1, 2).flatten(0, 1)  # [blocks, K, block size, h]
        return in_users_order[self.page_table.rows.flatten().argsort()]

    def _gather(self, blocks: torch.Tensor) -> torch.Tensor:
        users = blocks[self.page_table.rows.long()]  # [B, blocks per user, K, block size, h]
        return users.transpose(1, 2).flatten(2, 3)  # [B, K, S, h]


def _attend_chunk(
    cache: ContiguousKVCache | PagedKVCache,
    page_table: PageTable,
    query: ttnn.Tensor,
    chunk: PrefillChunk,
    scale: float,
) -> ttnn.Tensor:
    blocks = page_table.stretch(chunk.user, 0, cache.shape[2])
    attended = ttnn.transformer.chunked_scaled_dot_product_attention(
        query,
        cache.keys,
        cache.values,
        blocks,
        chunk_start_idx=chunk.start,
        scale=scale,
        program_config=sdpa_prefill_program_config(query.device(), rows=chunk.rows, start=chunk.start),
        compute_kernel_config=cache.prefill_kernel_config,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )
    ttnn.deallocate(blocks)
    return attended


@contextmanager
def _filled_rows(heads: ttnn.Tensor, chunk: PrefillChunk) -> Iterator[ttnn.Tensor]:
    """[1, K, S, h] without the tiles that hold padding only, for as long as they are written."""
    if chunk.filled_rows == chunk.rows:
        yield heads
        return
    _, kv_heads, _, head_dim = heads.shape
    rows = ttnn.slice(heads, (0, 0, 0, 0), (1, kv_heads, chunk.filled_rows, head_dim))
    yield rows
    ttnn.deallocate(rows)


def _user_shape(config: ModelConfig) -> tuple[int, int, int, int]:
    return DECODE_BATCH, config.num_kv_heads, config.max_seq_len, config.head_dim


def _check_shapes(expected: tuple[int, ...], *tensors: torch.Tensor) -> None:
    for tensor in tensors:
        if tuple(tensor.shape) != expected:
            raise BringupError(f"Keys and values must have shape {list(expected)}; {list(tensor.shape)} given.")


def _zeros(shape: tuple[int, ...], mesh_device: ttnn.MeshDevice, precision: PrecisionConfig) -> ttnn.Tensor:
    return ttnn.zeros(
        shape,
        dtype=precision.kv_cache,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )


def _read(tensor: ttnn.Tensor) -> torch.Tensor:
    values: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(tensor)[0])
    return values


def _write(values: torch.Tensor, tensor: ttnn.Tensor) -> None:
    mapper = replicated(tensor.device())
    host = ttnn.from_torch(values, dtype=tensor.dtype, layout=tensor.layout, mesh_mapper=mapper)
    ttnn.copy_host_to_device_tensor(host, tensor)
