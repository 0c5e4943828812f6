"""RMSNorm."""

from __future__ import annotations

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import TILE_SIZE, ModelConfig
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .weights import UNCACHED, WeightCache


class RMSNorm:
    """x / sqrt(mean(x²) + eps) · weight, over the last dimension.

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
        self.kernel_config = precision.norm_math.kernel_config(mesh_device)
        # A row-major weight is read in sticks one tile wide.
        self.weight = weight_cache.load(
            name,
            weight.reshape(1, 1, -1, TILE_SIZE),  # [1, 1, D/32, 32]
            dtype=precision.norm_weight,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            device=mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
        )

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, B, D] → [1, 1, B, D]."""
        return self._forward(x, ttnn.L1_MEMORY_CONFIG)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, S, D] → [1, 1, S, D]."""
        return self._forward(x, ttnn.DRAM_MEMORY_CONFIG)

    def _forward(self, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        return ttnn.rms_norm(
            x,
            epsilon=self.eps,
            weight=self.weight,
            memory_config=memory_config,
            compute_kernel_config=self.kernel_config,
        )
