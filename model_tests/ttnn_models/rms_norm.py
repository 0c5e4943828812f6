"""RMSNorm."""

from __future__ import annotations

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .collectives import Collectives
from .config import TILE_SIZE, ModelConfig
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .weights import UNCACHED, WeightCache


class RMSNorm:
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension.

    Of a fractured residual each chip norms its own columns, by sums of squares that all chips exchange, and then gets
    the others' columns: what comes out is whole.

    Shapes: B users, S rows of a prefill, D hidden.

    Args:
        mesh_device: where it runs.
        config: sizes and eps.
        weight: [D], Hugging Face's.
        name: the weight's name in the cache.
        precision: formats and math.
        weight_cache: keeps the converted weight.
    """

    def __init__(
        self,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weight: torch.Tensor,
        *,
        name: str = "norm",
        precision: PrecisionConfig = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
    ) -> None:
        if tuple(weight.shape) != (config.hidden_size,):
            raise BringupError(f"RMSNorm weight {name} has shape {list(weight.shape)}, not [{config.hidden_size}].")
        self.eps = config.rms_norm_eps
        self.collectives = Collectives(config.parallelism)
        self.kernel_config = precision.norm_math.kernel_config(mesh_device)
        # A row-major weight is read in sticks one tile wide.
        self.weight = weight_cache.load(
            name,
            weight.reshape(1, 1, -1, TILE_SIZE),  # [1, 1, D/32, 32]
            dtype=precision.norm_weight,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            device=mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            mesh_mapper=config.parallelism.mapper(tensor=2 if config.parallelism.fractured else None),
        )

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """The residual's [1, 1, B, D] → [1, 1, B, D]."""
        return self._forward(x, ttnn.L1_MEMORY_CONFIG)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """The residual's [1, 1, S, D] → [1, 1, S, D]."""
        return self._forward(x, ttnn.DRAM_MEMORY_CONFIG)

    def _forward(self, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        if self.collectives.fractured:
            return self._distributed(x, memory_config)
        return ttnn.rms_norm(
            x,
            epsilon=self.eps,
            weight=self.weight,
            memory_config=memory_config,
            compute_kernel_config=self.kernel_config,
        )

    def _distributed(self, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        squares = ttnn.rms_norm_pre_all_gather(
            x, dtype=ttnn.bfloat16, memory_config=memory_config, compute_kernel_config=self.kernel_config
        )  # [1, 1, B, 32]: the sum in the first column
        statistics = self.collectives.all_gather(squares, memory_config)  # [1, 1, B, 32 · chips]
        columns = ttnn.rms_norm_post_all_gather(
            x,
            statistics,
            epsilon=self.eps,
            weight=self.weight,
            memory_config=memory_config,
            compute_kernel_config=self.kernel_config,
        )
        ttnn.deallocate(statistics)
        return self.collectives.all_gather(columns, memory_config)
