"""Grouped-query self-attention."""

from __future__ import annotations

import torch
import ttnn

from .collectives import Collectives
from .config import ModelConfig
from .kv_cache import KVCache
from .layouts import folded, unfolded, user_sharded
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .rope import interleave_rows
from .rotary_embedding import RotaryEmbedding, RotaryTables
from .sdpa import sdpa_prefill_program_config
from .state_dict import StateDict, take
from .weights import UNCACHED, WeightCache


class Attention:
    """Projections, rotary embedding, KV cache, attention and the output projection.

    In tensor parallel each chip has heads of its own (`HeadSplit`): columns of the QKV projection, and the rows of the
    output projection that belong to them, which gives a summand of the output.

    Shapes: B users, S rows of a prefill, D hidden, H heads, K KV heads, h head size. The weights given are those of
    all heads; elsewhere B, H and K are those of a chip.

    Args:
        mesh_device: where it runs.
        config: sizes.
        weights: the layer's, with "self_attn.q_proj.weight" [Hh, D], "self_attn.k_proj.weight" [Kh, D],
            "self_attn.v_proj.weight" [Kh, D] and "self_attn.o_proj.weight" [D, Hh].
        rotary: rotates Q and K; one for all layers.
        precision: formats and math.
        weight_cache: keeps the converted weights.
    """

    def __init__(
        self,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weights: StateDict,
        *,
        rotary: RotaryEmbedding,
        precision: PrecisionConfig = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
    ) -> None:
        self.head_split = config.head_split
        self.collectives = Collectives(config.parallelism, precision)
        self.rotary = rotary
        self.precision = precision
        # As the float32 it becomes: TT-NN's chunked attention takes no other number.
        self.scale = torch.tensor(config.head_dim**-0.5).item()
        self.heads_memory_config = user_sharded(config.head_dim)
        self.qkv_kernel_config = precision.qkv_math.kernel_config(mesh_device)
        self.sdpa_kernel_config = precision.sdpa_prefill_math.kernel_config(mesh_device)
        self.output_kernel_config = precision.attention_output_math.kernel_config(mesh_device)

        hidden, head_dim = config.hidden_size, config.head_dim
        query_size, kv_size = config.num_heads * head_dim, config.num_kv_heads * head_dim
        query = interleave_rows(take(weights, "self_attn.q_proj.weight", (query_size, hidden)), head_dim)
        key = interleave_rows(take(weights, "self_attn.k_proj.weight", (kv_size, hidden)), head_dim)
        value = take(weights, "self_attn.v_proj.weight", (kv_size, hidden))
        output = take(weights, "self_attn.o_proj.weight", (hidden, query_size))

        def load(name: str, weight: torch.Tensor, dtype: ttnn.DataType, *, split: int) -> ttnn.Tensor:
            return weight_cache.load(
                name,
                weight.T[None, None],  # [1, 1, in, out]
                dtype=dtype,
                layout=ttnn.TILE_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=config.parallelism.mapper(tensor=split),
            )

        fused = self.head_split.fused(query, key, value, head_dim)
        output = self.head_split.output(output, head_dim)
        self.qkv = load("self_attn.qkv", fused, precision.qkv_weight, split=3)  # [1, 1, D, (H + 2K)h]
        self.output = load(
            "self_attn.o_proj.weight", output, precision.attention_output_weight, split=2
        )  # [1, 1, Hh, D]

    def decode(
        self, x: ttnn.Tensor, *, positions: ttnn.Tensor, rotary_tables: RotaryTables, kv_cache: KVCache
    ) -> ttnn.Tensor:
        """One token of every user; its K and V are written to the cache before it is attended to.

        Args:
            x: [1, 1, B, D].
            positions: int32 [B], row-major; -1 leaves a user out.
            rotary_tables: of those positions.
            kv_cache: this layer's.

        Returns:
            the residual's [1, 1, B, D].
        """
        qkv = self._project_in(x, ttnn.L1_MEMORY_CONFIG)  # [1, 1, B, (H + 2K)h]
        query, key, value = ttnn.experimental.nlp_create_qkv_heads_decode(
            qkv,
            num_heads=self.head_split.heads,
            num_kv_heads=self.head_split.slots,
            memory_config=self.heads_memory_config,
        )  # [1, B, H, h], [1, B, K, h], [1, B, K, h]: one user per core, heads padded to a tile's 32 rows
        ttnn.deallocate(qkv)

        rotated_query = self.rotary.decode(query, rotary_tables)  # [1, B, H, h]
        rotated_key = self.rotary.decode(key, rotary_tables)  # [1, B, K, h]
        ttnn.deallocate(query)
        ttnn.deallocate(key)

        kv_cache.update(rotated_key, value, positions)
        ttnn.deallocate(rotated_key)
        ttnn.deallocate(value)

        # With several KV heads attention writes interleaved memory only; heads are joined from one user per core.
        attended = kv_cache.attend(rotated_query, positions, scale=self.scale)  # [1, B, H, h]
        ttnn.deallocate(rotated_query)
        attended = ttnn.to_memory_config(attended, self.heads_memory_config)
        joined = ttnn.experimental.nlp_concat_heads_decode(attended, num_heads=self.head_split.heads)  # [1, 1, B, Hh]
        ttnn.deallocate(attended)
        joined = ttnn.to_memory_config(joined, ttnn.L1_MEMORY_CONFIG)

        partial = self._project_out(joined, ttnn.L1_MEMORY_CONFIG)  # [1, 1, B, D]
        ttnn.deallocate(joined)
        return self.collectives.residual_of_sum(partial, ttnn.L1_MEMORY_CONFIG)

    def prefill(
        self, x: ttnn.Tensor, *, chunk: PrefillChunk, rotary_tables: RotaryTables, kv_cache: KVCache
    ) -> ttnn.Tensor:
        """Many tokens of one user; their K and V are written to the cache.

        Args:
            x: [1, 1, S, D], a row for each of the chunk's.
            chunk: whose tokens, and where they stand.
            rotary_tables: of the chunk's positions.
            kv_cache: this layer's.

        Returns:
            the residual's [1, 1, S, D]; rows of padding mean nothing.
        """
        qkv = unfolded(self._project_in(folded(x), ttnn.DRAM_MEMORY_CONFIG))  # [1, 1, S, (H + 2K)h]
        query, key, value = ttnn.experimental.nlp_create_qkv_heads(
            qkv,
            num_heads=self.head_split.heads,
            num_kv_heads=self.head_split.slots,
            transpose_k_heads=False,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
        )  # [1, H, S, h], [1, K, S, h], [1, K, S, h]
        ttnn.deallocate(qkv)

        rotated_query = self.rotary.prefill(query, rotary_tables)  # [1, H, S, h]
        rotated_key = self.rotary.prefill(key, rotary_tables)  # [1, K, S, h]
        ttnn.deallocate(query)
        ttnn.deallocate(key)

        # Attended to in the format of the cache, as decode does.
        cached_key = ttnn.typecast(rotated_key, kv_cache.dtype, memory_config=ttnn.DRAM_MEMORY_CONFIG)
        cached_value = ttnn.typecast(value, kv_cache.dtype, memory_config=ttnn.DRAM_MEMORY_CONFIG)
        ttnn.deallocate(rotated_key)
        ttnn.deallocate(value)
        kv_cache.fill(cached_key, cached_value, chunk)
        if chunk.start:
            attended = kv_cache.attend_prefill(rotated_query, chunk, scale=self.scale)  # [1, H, S, h]
        else:
            attended = self._attend_to_itself(rotated_query, cached_key, cached_value)  # [1, H, S, h]
        for heads in (rotated_query, cached_key, cached_value):
            ttnn.deallocate(heads)

        joined = ttnn.experimental.nlp_concat_heads(attended, memory_config=ttnn.DRAM_MEMORY_CONFIG)  # [1, 1, S, Hh]
        ttnn.deallocate(attended)
        partial = unfolded(self._project_out(folded(joined), ttnn.DRAM_MEMORY_CONFIG))  # [1, 1, S, D]
        ttnn.deallocate(joined)
        return self.collectives.residual_of_sum(partial, ttnn.DRAM_MEMORY_CONFIG)

    def _attend_to_itself(self, query: ttnn.Tensor, key: ttnn.Tensor, value: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.transformer.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            scale=self.scale,
            program_config=sdpa_prefill_program_config(query.device(), rows=query.shape[2]),
            compute_kernel_config=self.sdpa_kernel_config,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
        )

    def _project_in(self, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        return ttnn.linear(
            x,
            self.qkv,
            dtype=self.precision.activations,
            memory_config=memory_config,
            compute_kernel_config=self.qkv_kernel_config,
        )

    def _project_out(self, joined: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        return ttnn.linear(
            joined,
            self.output,
            dtype=self.collectives.summand,
            memory_config=memory_config,
            compute_kernel_config=self.output_kernel_config,
        )
