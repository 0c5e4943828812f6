"""Token embedding."""

from __future__ import annotations

import ttnn

from .collectives import Collectives
from .config import ModelConfig
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .state_dict import StateDict, take
from .weights import UNCACHED, WeightCache


class Embedding:
    """Rows of the embedding table.

    In tensor parallel each chip has columns of the table, as in TT-NN's own LLM code: every chip looks all tokens up,
    and the columns are joined without any arithmetic. Of a table split by tokens a chip would have to hide those that
    it lacks, and sum.

    Shapes: B users, S rows of a prefill, V vocabulary, D hidden.

    Args:
        mesh_device: where it runs.
        config: sizes.
        weights: the model's, with "model.embed_tokens.weight" [V, D].
        precision: formats.
        weight_cache: keeps the converted table.
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
        self.hidden_size = config.parallelism.split("hidden_size", config.hidden_size)
        table = take(weights, "model.embed_tokens.weight", (config.vocab_size, config.hidden_size))
        self.table = weight_cache.load(
            "embed_tokens",
            table[None, None],  # [1, 1, V, D]
            dtype=precision.embedding_table,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            device=mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            mesh_mapper=config.parallelism.mapper(tensor=3),
        )

    def decode(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """uint32 tokens [1, B], row-major → the residual's [1, 1, B, D]."""
        return self._rows(tokens, ttnn.L1_MEMORY_CONFIG)

    def prefill(self, tokens: ttnn.Tensor) -> ttnn.Tensor:
        """uint32 tokens [1, S], row-major → the residual's [1, 1, S, D]."""
        return self._rows(tokens, ttnn.DRAM_MEMORY_CONFIG)

    def _rows(self, tokens: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        x = ttnn.embedding(tokens, self.table, layout=ttnn.TILE_LAYOUT, memory_config=memory_config)
        x = ttnn.reshape(x, (1, 1, tokens.shape[-1], self.hidden_size))  # from [1, B or S, D]
        return self.collectives.residual_of_columns(x, memory_config)
