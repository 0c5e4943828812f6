"""One decoder layer."""

from __future__ import annotations

from collections.abc import Callable

import ttnn

from .attention import Attention
from .config import ModelConfig
from .kv_cache import KVCache
from .mlp import MLP
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .prefill_chunk import PrefillChunk
from .rms_norm import RMSNorm
from .rotary_embedding import RotaryEmbedding, RotaryTables
from .state_dict import StateDict, check_names
from .weights import UNCACHED, WeightCache

LAYER_WEIGHTS = (
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
)
"""A layer's weights by Hugging Face's names, relative to the layer."""


class DecoderLayer:
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Shapes: B users, S rows of a prefill, D hidden.
    """

    def __init__(self, *, attention_norm: RMSNorm, attention: Attention, mlp_norm: RMSNorm, mlp: MLP) -> None:
        self.attention_norm = attention_norm
        self.attention = attention
        self.mlp_norm = mlp_norm
        self.mlp = mlp

    @classmethod
    def from_weights(
        cls,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weights: StateDict,
        *,
        rotary: RotaryEmbedding,
        precision: PrecisionConfig = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
    ) -> DecoderLayer:
        """Build a layer from its weights.

        Raises:
            BringupError: `weights` are not just `LAYER_WEIGHTS`, or one has the wrong shape.
        """
        check_names(weights, LAYER_WEIGHTS, owner="decoder layer")

        def norm(name: str) -> RMSNorm:
            return RMSNorm(
                mesh_device, config, weights[name], name=name, precision=precision, weight_cache=weight_cache
            )

        return cls(
            attention_norm=norm("input_layernorm.weight"),
            attention=Attention(
                mesh_device, config, weights, rotary=rotary, precision=precision, weight_cache=weight_cache
            ),
            mlp_norm=norm("post_attention_layernorm.weight"),
            mlp=MLP(mesh_device, config, weights, precision=precision, weight_cache=weight_cache),
        )

    def decode(
        self, x: ttnn.Tensor, *, positions: ttnn.Tensor, rotary_tables: RotaryTables, kv_cache: KVCache
    ) -> ttnn.Tensor:
        """The residual's [1, 1, B, D] → the same; the other arguments are those of `Attention.decode`."""
        normed = self.attention_norm.decode(x)
        attended = self.attention.decode(normed, positions=positions, rotary_tables=rotary_tables, kv_cache=kv_cache)
        ttnn.deallocate(normed)
        return self._fed(x, attended, self.mlp_norm.decode, self.mlp.decode, ttnn.L1_MEMORY_CONFIG)

    def prefill(
        self, x: ttnn.Tensor, *, chunk: PrefillChunk, rotary_tables: RotaryTables, kv_cache: KVCache
    ) -> ttnn.Tensor:
        """The residual's [1, 1, S, D] → the same; the other arguments are those of `Attention.prefill`."""
        normed = self.attention_norm.prefill(x)
        attended = self.attention.prefill(normed, chunk=chunk, rotary_tables=rotary_tables, kv_cache=kv_cache)
        ttnn.deallocate(normed)
        return self._fed(x, attended, self.mlp_norm.prefill, self.mlp.prefill, ttnn.DRAM_MEMORY_CONFIG)

    @staticmethod
    def _fed(
        x: ttnn.Tensor,
        attended: ttnn.Tensor,
        norm: Callable[[ttnn.Tensor], ttnn.Tensor],
        mlp: Callable[[ttnn.Tensor], ttnn.Tensor],
        memory_config: ttnn.MemoryConfig,
    ) -> ttnn.Tensor:
        """What follows attention, in decode and in prefill; `attended` is freed."""
        residual = ttnn.add(x, attended, memory_config=memory_config)
        ttnn.deallocate(attended)
        normed = norm(residual)
        fed = mlp(normed)
        ttnn.deallocate(normed)
        out = ttnn.add(residual, fed, memory_config=memory_config)
        ttnn.deallocate(residual)
        ttnn.deallocate(fed)
        return out
