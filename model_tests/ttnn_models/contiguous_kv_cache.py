"""A KV cache with a stretch of memory for each user."""

from __future__ import annotations

import torch
import ttnn

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .kv_cache import attend_chunk, check_shapes, filled_rows, read, write, zeros
from .page_table import FillTable, PageTable
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .sdpa import sdpa_program_config


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
        self.config = config
        self.dtype = precision.kv_cache
        shape = (DECODE_BATCH, config.head_split.slots, config.max_seq_len, config.head_dim)
        self.keys = zeros(shape, mesh_device, precision)
        self.values = zeros(shape, mesh_device, precision)
        self.users = PageTable.whole_users(mesh_device, config)
        self.fill_table = FillTable.whole_users(mesh_device, config)
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
            with filled_rows(heads, chunk) as rows:
                _, kv_heads, length, head_dim = rows.shape
                one_behind_the_other = ttnn.reshape(rows, (1, 1, kv_heads * length, head_dim))
                self.fill_table.fill(_tile_rows(cache), one_behind_the_other, chunk)

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        blocks = self.users.stretch(chunk.user, 0, self.config.max_seq_len)
        return attend_chunk(
            query, self.keys, self.values, blocks, chunk, scale=scale, kernel_config=self.prefill_kernel_config
        )

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return read(self.keys, self.config), read(self.values, self.config)

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        check_shapes(self.config, keys, values)
        write(keys, self.keys, self.config)
        write(values, self.values, self.config)


def _tile_rows(cache: ttnn.Tensor) -> ttnn.Tensor:
    """[B, K, S, h] → [B · K · S/32, 1, 32, h], the same buffer: tiles lie in it row by row."""
    head_dim = cache.shape[-1]
    return ttnn.reshape(cache, (cache.logical_volume() // (TILE_SIZE * head_dim), 1, TILE_SIZE, head_dim))
