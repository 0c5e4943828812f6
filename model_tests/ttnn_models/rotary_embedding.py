"""Rotary position embedding on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import ttnn

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .layouts import replicated, user_sharded
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .rope import cos_sin_tables, rotation_tile


@dataclass(frozen=True)
class RotaryTables:
    """Cosine and sine; one pair serves all layers.

    In decode of each user's position, each [1, B, 1, h], one user per core; in prefill of each row's, [1, 1, S, h].
    """

    cos: ttnn.Tensor
    sin: ttnn.Tensor


class RotaryEmbedding:
    """Rotates the heads of Q and K, in interleaved order (see `rope`), by the position of their user or row.

    The tables stay on the device and are looked up there, so that a decode step needs nothing from the host.

    Shapes: B users, S rows of a prefill, n heads, h head size, P positions.

    Args:
        mesh_device: where it runs.
        config: sizes and RoPE parameters.
        precision: formats and math.
    """

    def __init__(
        self, mesh_device: ttnn.MeshDevice, config: ModelConfig, *, precision: PrecisionConfig = DEFAULT_PRECISION
    ) -> None:
        self.head_dim = config.head_dim
        self.kernel_config = precision.rotary_math.kernel_config(mesh_device)
        self.memory_config = user_sharded(config.head_dim)

        def table(values: torch.Tensor) -> ttnn.Tensor:
            return ttnn.from_torch(
                values[None, None],  # [1, 1, P, h]
                dtype=precision.rotary_tables,
                layout=ttnn.ROW_MAJOR_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=replicated(mesh_device),
            )

        cos, sin = cos_sin_tables(config)
        self.cos_table = table(cos)
        self.sin_table = table(sin)

        def transformation(copies: int, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
            return ttnn.from_torch(
                rotation_tile().repeat(copies, 1)[None, None],  # [1, 1, 32 · copies, 32]
                dtype=ttnn.bfloat16,
                layout=ttnn.TILE_LAYOUT,
                device=mesh_device,
                memory_config=memory_config,
                mesh_mapper=replicated(mesh_device),
            )

        self.transformation = transformation(DECODE_BATCH, user_sharded(TILE_SIZE))  # the tile on every user's core
        self.prefill_transformation = transformation(1, ttnn.DRAM_MEMORY_CONFIG)

    def decode_tables(self, positions: ttnn.Tensor) -> RotaryTables:
        """uint32 positions [1, B], row-major, each within the table → that step's tables."""

        def rows(table: ttnn.Tensor) -> ttnn.Tensor:
            by_user = ttnn.transpose(self._rows(table, positions), 1, 2)  # [1, B, 1, h]
            return ttnn.to_memory_config(by_user, self.memory_config)

        return RotaryTables(cos=rows(self.cos_table), sin=rows(self.sin_table))

    def prefill_tables(self, positions: ttnn.Tensor) -> RotaryTables:
        """uint32 positions [1, S], row-major, each within the table → that prefill's tables."""
        return RotaryTables(cos=self._rows(self.cos_table, positions), sin=self._rows(self.sin_table, positions))

    def _rows(self, table: ttnn.Tensor, positions: ttnn.Tensor) -> ttnn.Tensor:
        """Those of positions [1, B or S]: [1, 1, B or S, h]."""
        rows = ttnn.embedding(positions, table, layout=ttnn.TILE_LAYOUT, memory_config=ttnn.DRAM_MEMORY_CONFIG)
        return ttnn.reshape(rows, (1, 1, positions.shape[-1], self.head_dim))  # from [1, B or S, h]

    def decode(self, heads: ttnn.Tensor, tables: RotaryTables) -> ttnn.Tensor:
        """[1, B, n, h] → [1, B, n, h], both with one user per core."""
        return ttnn.experimental.rotary_embedding_llama(
            heads,
            tables.cos,
            tables.sin,
            self.transformation,
            is_decode_mode=True,
            compute_kernel_config=self.kernel_config,
        )

    def prefill(self, heads: ttnn.Tensor, tables: RotaryTables) -> ttnn.Tensor:
        """[1, n, S, h] → [1, n, S, h]."""
        return ttnn.experimental.rotary_embedding_llama(
            heads,
            tables.cos,
            tables.sin,
            self.prefill_transformation,
            is_decode_mode=False,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            compute_kernel_config=self.kernel_config,
        )
