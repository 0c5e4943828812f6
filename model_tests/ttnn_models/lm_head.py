"""The projection to the vocabulary, and the greedy choice from it."""

from __future__ import annotations

import torch
import ttnn

from .collectives import Collectives
from .config import TILE_SIZE, ModelConfig
from .layouts import folded, unfolded
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .state_dict import StateDict, take
from .weights import UNCACHED, WeightCache


class LMHead:
    """Logits of the next token.

    In tensor parallel each chip computes those of its part of the vocabulary, and all chips get all of them. The
    vocabulary is filled up with tokens of zeros to whole tiles on each chip; their logits, which could be greater than
    true ones, are cut off.

    Shapes: B users, S rows of a prefill, D hidden, V vocabulary.

    Args:
        mesh_device: where it runs.
        config: sizes, and whether the embedding table is used.
        weights: the model's, with "lm_head.weight" [V, D], or "model.embed_tokens.weight" if that is used for both.
        precision: formats and math.
        weight_cache: keeps the converted weight.
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
        self.collectives = Collectives(config.parallelism)
        self.vocab_size = config.vocab_size
        self.logits_dtype = precision.logits
        self.kernel_config = precision.lm_head_math.kernel_config(mesh_device)
        name = "model.embed_tokens.weight" if config.tied_embeddings else "lm_head.weight"
        weight: torch.Tensor = take(weights, name, (config.vocab_size, config.hidden_size))
        chips = config.parallelism.tensor
        self.filling = 0 if chips == 1 else -config.vocab_size % (TILE_SIZE * chips)
        if self.filling:
            weight = torch.nn.functional.pad(weight, (0, 0, 0, self.filling))
        self.weight = weight_cache.load(
            "lm_head",
            weight.T[None, None],  # [1, 1, D, V]
            dtype=precision.lm_head_weight,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            mesh_mapper=config.parallelism.mapper(tensor=3),
        )

    def decode(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, B, D] → logits [1, 1, B, V]."""
        return self._all(self._forward(x))

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, S, D] → logits [1, 1, S, V]; for the next token alone, the last token's tile of 32 rows is enough."""
        return self._all(unfolded(self._forward(folded(x))))

    def _forward(self, x: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.linear(
            x,
            self.weight,
            dtype=self.logits_dtype,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            compute_kernel_config=self.kernel_config,
        )

    def _all(self, logits: ttnn.Tensor) -> ttnn.Tensor:
        """[1, 1, B, a chip's part of V] → [1, 1, B, V]."""
        logits = self.collectives.all_gather(logits, ttnn.DRAM_MEMORY_CONFIG)
        if not self.filling:
            return logits
        rows = logits.shape[2]
        true = ttnn.slice(logits, (0, 0, 0, 0), (1, 1, rows, self.vocab_size), memory_config=ttnn.DRAM_MEMORY_CONFIG)
        ttnn.deallocate(logits)
        return true

    @staticmethod
    def greedy(logits: ttnn.Tensor, *, out: ttnn.Tensor | None = None) -> ttnn.Tensor:
        """Logits [1, 1, B, V] → the best token of each row, uint32 [1, 1, B], row-major, written to `out` if given."""
        rows = ttnn.to_layout(logits, ttnn.ROW_MAJOR_LAYOUT)  # [1, 1, B, V]
        return ttnn.argmax(rows, dim=3, output_tensor=out)
