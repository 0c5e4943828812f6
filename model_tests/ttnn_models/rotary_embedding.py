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
    """Cosine and sine of each user's position, each [1, B, 1, h], one user per core; one pair serves all layers."""

    cos: ttnn.Tensor
    sin: ttnn.Tensor


class RotaryEmbedding:
    """Rotates the heads of Q and K, in interleaved order (see `rope`), by the position of their user.

    The tables stay on the device and are looked up there, so that a decode step needs nothing from the host.

    Shapes: B users, n heads, h head size, S positions.

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
                values[None, None],  # [1, 1, S, h]
                dtype=precision.rotary_tables,
                layout=ttnn.ROW_MAJOR_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=replicated(mesh_device),
            )

        cos, sin = cos_sin_tables(config)
        self.cos_table = table(cos)
        self.sin_table = table(sin)
        self.transformation = ttnn.from_torch(
            rotation_tile().repeat(DECODE_BATCH, 1)[None, None],  # [1, 1, 32B, 32]: the tile once on every user's core
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
            memory_config=user_sharded(TILE_SIZE),
            mesh_mapper=replicated(mesh_device),
        )

    def decode_tables(self, positions: ttnn.Tensor) -> RotaryTables:
        """uint32 positions [1, B], row-major, each within the table → that step's tables."""
        return RotaryTables(cos=self._rows(self.cos_table, positions), sin=self._rows(self.sin_table, positions))

    def _rows(self, table: ttnn.Tensor, positions: ttnn.Tensor) -> ttnn.Tensor:
        rows = ttnn.embedding(positions, table, layout=ttnn.TILE_LAYOUT)  # [1, B, h]
        rows = ttnn.reshape(rows, (1, 1, DECODE_BATCH, self.head_dim))
        rows = ttnn.transpose(rows, 1, 2)  # [1, B, 1, h]
        return ttnn.to_memory_config(rows, self.memory_config)

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
