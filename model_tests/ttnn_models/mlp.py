"""The SwiGLU feed-forward block."""

from __future__ import annotations

import torch
import ttnn

from .collectives import Collectives
from .config import TILE_SIZE, ModelConfig
from .layouts import folded, unfolded
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .state_dict import StateDict, take
from .weights import UNCACHED, WeightCache


class MLP:
    """down(silu(gate(x)) · up(x)).

    In tensor parallel `gate` and `up` are split by columns and `down` by rows, so that each chip gets a summand of the
    output from its own part of F alone. Where tiles of F can't be dealt out evenly, zeros fill it up.

    Shapes: B users, S rows of a prefill, D hidden, F intermediate. The weights given have all of F; elsewhere B and F
    are those of a chip.

    Args:
        mesh_device: where it runs.
        config: sizes.
        weights: the layer's, with "mlp.gate_proj.weight" [F, D], "mlp.up_proj.weight" [F, D] and "mlp.down_proj.weight"
            [D, F].
        precision: formats and math.
        weight_cache: keeps the converted weights.
    """

    def __init__(
        self,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weights: StateDict,
        *,
        precision: PrecisionConfig = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
    ) -> None:
        self.precision = precision
        self.gate_activations = [ttnn.UnaryOpType.SILU]
        self.gate_up_kernel_config = precision.gate_up_math.kernel_config(mesh_device)
        self.down_kernel_config = precision.down_math.kernel_config(mesh_device)
        self.collectives = Collectives(config.parallelism, precision)
        hidden, inner = config.hidden_size, config.intermediate_size
        filling = -inner % (TILE_SIZE * config.parallelism.tensor)

        def load(name: str, shape: tuple[int, int], dtype: ttnn.DataType, *, split: int) -> ttnn.Tensor:
            weight: torch.Tensor = take(weights, name, shape)
            if filling:
                weight = torch.nn.functional.pad(weight, (0, 0, 0, filling) if split == 3 else (0, filling))
            return weight_cache.load(
                name,
                weight.T[None, None],  # [1, 1, in, out]
                dtype=dtype,
                layout=ttnn.TILE_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=config.parallelism.mapper(tensor=split),
            )

        self.gate = load("mlp.gate_proj.weight", (inner, hidden), precision.gate_up_weight, split=3)
        self.up = load("mlp.up_proj.weight", (inner, hidden), precision.gate_up_weight, split=3)
        self.down = load("mlp.down_proj.weight", (hidden, inner), precision.down_weight, split=2)

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, B, D] → the residual's [1, 1, B, D]."""
        partial = self._forward(x, ttnn.L1_MEMORY_CONFIG)
        return self.collectives.residual_of_sum(partial, ttnn.L1_MEMORY_CONFIG)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, S, D] → the residual's [1, 1, S, D]."""
        partial = unfolded(self._forward(folded(x), ttnn.DRAM_MEMORY_CONFIG))
        return self.collectives.residual_of_sum(partial, ttnn.DRAM_MEMORY_CONFIG)

    def _forward(self, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        gate = self._gate_or_up(x, self.gate, memory_config)  # [1, 1, B, F] or [1, S/R, R, F]
        up = self._gate_or_up(x, self.up, memory_config)
        product = ttnn.mul(
            gate,
            up,
            input_tensor_a_activations=self.gate_activations,
            dtype=self.precision.mlp_product,
            memory_config=memory_config,
        )
        ttnn.deallocate(gate)
        ttnn.deallocate(up)
        out = ttnn.linear(
            product,
            self.down,
            dtype=self.collectives.summand,
            memory_config=memory_config,
            compute_kernel_config=self.down_kernel_config,
        )  # [1, 1, B, D] or [1, S/R, R, D]
        ttnn.deallocate(product)
        return out

    def _gate_or_up(self, x: ttnn.Tensor, weight: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        return ttnn.linear(
            x,
            weight,
            dtype=self.precision.activations,
            memory_config=memory_config,
            compute_kernel_config=self.gate_up_kernel_config,
        )
