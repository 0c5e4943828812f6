"""The whole model: tokens in, logits or the next tokens out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ttnn

from .config import TILE_SIZE, ModelConfig
from .contiguous_kv_cache import ContiguousKVCache
from .decode_state import DecodeState
from .decoder import Decoder
from .decoder_layer import LAYER_WEIGHTS, DecoderLayer
from .embedding import Embedding
from .kv_cache import KVCache
from .lm_head import LMHead
from .model_precision import ModelPrecision
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .rms_norm import RMSNorm
from .rotary_embedding import RotaryEmbedding
from .state_dict import StateDict, check_names, take, within
from .weights import UNCACHED, WeightCache


class CausalLM:
    """Embedding, decoder and LM head.

    Shapes: B users, S rows of a prefill, D hidden, V vocabulary.
    """

    def __init__(
        self,
        *,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        precision: PrecisionConfig,
        embedding: Embedding,
        rotary: RotaryEmbedding,
        decoder: Decoder,
        lm_head: LMHead,
    ) -> None:
        self.mesh_device = mesh_device
        self.config = config
        self.parallelism = config.parallelism
        self.precision = precision
        self.embedding = embedding
        self.rotary = rotary
        self.decoder = decoder
        self.lm_head = lm_head

    @classmethod
    def from_weights(
        cls,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weights: StateDict,
        *,
        precision: PrecisionConfig | ModelPrecision = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
        report: Callable[[str], None] | None = None,
    ) -> CausalLM:
        """Build the model from a Hugging Face `LlamaForCausalLM` state dict.

        Args:
            mesh_device: where it runs.
            config: sizes.
            weights: by Hugging Face's names; "lm_head.weight" may be absent if it is tied to the embedding.
            precision: formats and math; for layers that differ, a `ModelPrecision`.
            weight_cache: keeps the converted weights.
            report: called with a line after each layer.

        Raises:
            BringupError: weights are missing, left over or of the wrong shape.
        """
        check_names(weights, _names(config, weights), owner="model")
        layered = ModelPrecision.of(precision)
        layered.check(config.num_layers, "this model")
        precision = layered.model
        rotary = RotaryEmbedding(mesh_device, config, precision=precision)
        layers = []
        for index in range(config.num_layers):
            layers.append(
                DecoderLayer.from_weights(
                    mesh_device,
                    config,
                    within(weights, f"model.layers.{index}"),
                    rotary=rotary,
                    precision=layered.of_layer(index, config.num_layers),
                    weight_cache=weight_cache,
                )
            )
            if report is not None:
                report(f"decoder layer {index + 1} of {config.num_layers} on the device")
        norm = RMSNorm(
            mesh_device,
            config,
            take(weights, "model.norm.weight", (config.hidden_size,)),
            name="model.norm.weight",
            precision=precision,
            weight_cache=weight_cache,
        )
        return cls(
            mesh_device=mesh_device,
            config=config,
            precision=precision,
            embedding=Embedding(mesh_device, config, weights, precision=precision, weight_cache=weight_cache),
            rotary=rotary,
            decoder=Decoder(layers=layers, norm=norm),
            lm_head=LMHead(mesh_device, config, weights, precision=precision, weight_cache=weight_cache),
        )

    def new_kv_caches(self) -> list[KVCache]:
        """An empty contiguous cache for each layer."""
        return [
            ContiguousKVCache(self.mesh_device, self.config, precision=layer.attention.precision)
            for layer in self.decoder.layers
        ]

    def decode(self, state: DecodeState, kv_caches: Sequence[KVCache]) -> ttnn.Tensor:
        """Logits [1, 1, B, V] after the state's tokens at the state's positions; the state stays as it is."""
        x = self.embedding.decode(state.tokens)  # [1, 1, B, D]
        rotary_tables = self.rotary.decode_tables(state.rotary_positions)
        x = self.decoder.decode(x, positions=state.positions, rotary_tables=rotary_tables, kv_caches=kv_caches)
        return self.lm_head.decode(x)

    def decode_greedy(self, state: DecodeState, kv_caches: Sequence[KVCache]) -> None:
        """One step, all of it on the device: each user's best next token replaces its token, at its next position."""
        logits = self.decode(state, kv_caches)
        self.lm_head.greedy(logits, out=state.tokens_out)
        state.advance()

    def decode_forced(self, state: DecodeState, kv_caches: Sequence[KVCache]) -> ttnn.Tensor:
        """One step whose successor's tokens are given: the logits [1, 1, B, V], and every user at its next position."""
        logits = self.decode(state, kv_caches)
        state.advance()
        return logits

    def prefill(self, chunk: PrefillChunk, kv_caches: Sequence[KVCache]) -> ttnn.Tensor:
        """The hidden state [1, 1, S, D] of a chunk after the last layer, before the final norm.

        A prompt in chunks takes one call for each, in their order. The chunk and the hidden state stay the caller's.
        """
        x = self.embedding.prefill(chunk.tokens)  # [1, 1, S, D]
        tables = self.rotary.prefill_tables(chunk.positions)
        for state in self.decoder.prefill_layers(x, chunk=chunk, rotary_tables=tables, kv_caches=kv_caches):
            hidden = state
        for tensor in (x, tables.cos, tables.sin):
            ttnn.deallocate(tensor)
        return hidden

    def last_logits(self, hidden: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        """Logits [1, 1, 32, V] of the chunk's last token, in all 32 rows.

        That token is at another row on each instance, so the rows are looked up like an embedding's, by numbers that
        each chip holds: a slice has its bounds in the program.
        """
        table = ttnn.to_layout(hidden, ttnn.ROW_MAJOR_LAYOUT, memory_config=ttnn.DRAM_MEMORY_CONFIG)  # [1, 1, S, D]
        rows = ttnn.embedding(
            chunk.last_rows, table, layout=ttnn.TILE_LAYOUT, memory_config=ttnn.DRAM_MEMORY_CONFIG
        )  # [1, 32, D]
        ttnn.deallocate(table)
        rows = ttnn.reshape(rows, (1, 1, TILE_SIZE, hidden.shape[-1]))
        normed = self.decoder.norm.prefill(rows)
        ttnn.deallocate(rows)
        logits = self.lm_head.prefill(normed)
        ttnn.deallocate(normed)
        return logits

    def all_logits(self, hidden: ttnn.Tensor) -> ttnn.Tensor:
        """Logits [1, 1, S, V] of a whole prefill; rows of padding mean nothing."""
        normed = self.decoder.norm.prefill(hidden)  # [1, 1, S, D]
        logits = self.lm_head.prefill(normed)
        ttnn.deallocate(normed)
        return logits


def _names(config: ModelConfig, weights: StateDict) -> set[str]:
    names = {"model.embed_tokens.weight", "model.norm.weight"}
    names |= {f"model.layers.{index}.{name}" for index in range(config.num_layers) for name in LAYER_WEIGHTS}
    if not config.tied_embeddings or "lm_head.weight" in weights:
        names.add("lm_head.weight")
    return names
