"""A KV cache in blocks, found by a page table."""

from __future__ import annotations

import torch
import ttnn

from .config import DECODE_BATCH, ModelConfig
from .kv_cache import attend_chunk, check_shapes, filled_rows, read, write, zeros
from .page_table import FillTable, PageTable
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .sdpa import sdpa_program_config


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
        self.config = config
        self.dtype = precision.kv_cache
        self.page_table = page_table
        self.fill_table = FillTable.from_rows(
            mesh_device, config, page_table.rows[:, None], block_size=page_table.block_size
        )
        blocks = (page_table.blocks, config.head_split.slots, page_table.block_size, config.head_dim)
        self.keys = zeros(blocks, mesh_device, precision)
        self.values = zeros(blocks, mesh_device, precision)
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
        for heads, cache in ((key, self.keys), (value, self.values)):
            with filled_rows(heads, chunk) as rows:
                self.fill_table.fill(cache, rows, chunk)

    def attend_prefill(self, query: ttnn.Tensor, chunk: PrefillChunk, *, scale: float) -> ttnn.Tensor:
        blocks = self.page_table.stretch(chunk.user, 0, self.config.max_seq_len)
        return attend_chunk(
            query, self.keys, self.values, blocks, chunk, scale=scale, kernel_config=self.prefill_kernel_config
        )

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._gather(read(self.keys, self.config)), self._gather(read(self.values, self.config))

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        check_shapes(self.config, keys, values)
        write(self._scatter(keys), self.keys, self.config)
        write(self._scatter(values), self.values, self.config)

    def _scatter(self, users: torch.Tensor) -> torch.Tensor:
        blocks = users.unflatten(2, (-1, self.page_table.block_size))  # [B, K, blocks per user, block size, h]
        in_users_order: torch.Tensor = blocks.transpose(1, 2).flatten(0, 1)  # [blocks, K, block size, h]
        return in_users_order[self._block_of_all_chips().flatten().argsort()]

    def _gather(self, blocks: torch.Tensor) -> torch.Tensor:
        users = blocks[self._block_of_all_chips()]  # [B, blocks per user, K, block size, h]
        return users.transpose(1, 2).flatten(2, 3)  # [B, K, S, h]

    def _block_of_all_chips(self) -> torch.Tensor:
        """The page table with the blocks of all instances numbered on: int64 [B, blocks per user]."""
        before = torch.arange(self.config.parallelism.data) * self.page_table.blocks
        return self.page_table.rows.long() + before.repeat_interleave(DECODE_BATCH)[:, None]
