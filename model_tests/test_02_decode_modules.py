"""Stage 2: each module of a decode step alone, with real weights and random activations.

Shapes: B = 32 users, D hidden, H heads, K KV heads, h head size, S positions, V vocabulary.
"""

from __future__ import annotations

import pytest
import torch
import ttnn
from decode_inputs import PLACES, decode_state, positions_at, read_history, shuffled_page_table, write_history
from ttnn_models.attention import Attention
from ttnn_models.config import ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.embedding import Embedding
from ttnn_models.layouts import user_sharded
from ttnn_models.lm_head import LMHead
from ttnn_models.mlp import MLP
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rms_norm import RMSNorm
from ttnn_models.rope import from_interleaved, to_interleaved
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import reference_decode_attention, reference_rotary
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("decode modules")

USERS = (None, None, "user", "dim")
NORM_PCC = 0.9999
"""A norm only scales its input, so it loses no more than one rounding to bfloat16 (tt-metal's floor for RMSNorm)."""


@pytest.mark.parametrize("norm", ["input_layernorm", "post_attention_layernorm"])
def test_decode_rms_norm(
    model: BringupModel,
    layer: LayerKey,
    norm: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    compare: Compare,
) -> None:
    reference = getattr(model.reference_layer(layer), norm)
    rms_norm = RMSNorm(mesh_device, model_config, reference.weight, precision=precision)
    compare(
        reference,
        rms_norm.decode,
        model.decode_activations(model_config.users, layer=layer)[None, None],
        axes=USERS,
        pcc_threshold=NORM_PCC,
        spread=model_config.parallelism.spread("residual", "whole"),
    )


@pytest.mark.parametrize("place", PLACES)
def test_decode_rotary(
    model: BringupModel,
    layer: LayerKey,
    place: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    compare: Compare,
) -> None:
    attention = model.reference_layer(layer).self_attn
    x = model.decode_activations(model_config.users, layer=layer, point="attention")
    heads = {
        "query": attention.q_proj(x).unflatten(-1, (-1, model_config.head_dim)),  # [B, H, h]
        "key": attention.k_proj(x).unflatten(-1, (-1, model_config.head_dim)),  # [B, K, h]
    }
    positions = positions_at(place, model_config.max_seq_len, model_config.users)
    expected = reference_rotary(model.config, heads["query"], heads["key"], positions)
    tables = rotary.decode_tables(
        decode_state(mesh_device, positions, parallelism=model_config.parallelism).rotary_positions
    )
    for (name, x), rotated in zip(heads.items(), expected, strict=True):
        on_device = ttnn.from_torch(
            to_interleaved(x)[None],  # [1, B, n, h]
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
            memory_config=user_sharded(model_config.head_dim),
            mesh_mapper=model_config.parallelism.to_mesh(mesh_device, data=1),
        )
        out = model_config.parallelism.join(rotary.decode(on_device, tables), data=1).float()
        compare(rotated, from_interleaved(out[0]), name=f"decode_rotary {name}", axes=("user", "head", "dim"))


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
@pytest.mark.parametrize("place", PLACES)
def test_decode_attention(
    model: BringupModel,
    layer: LayerKey,
    place: str,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    """The output, and K and V of the cache: what was written, and that nothing else was."""
    x = model.decode_activations(model_config.users, layer=layer, point="attention")
    keys, values = model.decode_history(model_config.max_seq_len, model_config.users, layer=layer)
    positions = positions_at(place, model_config.max_seq_len, model_config.users)
    expected = reference_decode_attention(model.reference, model.layer_index(layer), x, keys, values, positions)

    attention = Attention(
        mesh_device,
        model_config,
        model.layer_weights(layer),
        rotary=rotary,
        precision=precision,
        weight_cache=weight_cache,
    )
    kv_cache = (
        ContiguousKVCache(mesh_device, model_config, precision=precision)
        if cache == "contiguous"
        else PagedKVCache(
            mesh_device,
            model_config,
            page_table=shuffled_page_table(mesh_device, model_config),
            precision=precision,
        )
    )
    write_history(kv_cache, keys, values, model_config.max_seq_len)
    before = read_history(kv_cache)
    state = decode_state(mesh_device, positions, parallelism=model_config.parallelism)
    tables = rotary.decode_tables(state.rotary_positions)

    def decode(x: ttnn.Tensor) -> ttnn.Tensor:
        return attention.decode(x, positions=state.positions, rotary_tables=tables, kv_cache=kv_cache)

    spread = model_config.parallelism.spread("whole", "residual")
    compare(expected.output, decode, x[None, None], name="decode_attention output", axes=USERS, spread=spread)
    users = torch.arange(len(positions))
    for name, written, old, new in zip(("key", "value"), expected[1:], before, read_history(kv_cache), strict=True):
        compare(written, new[users, :, positions], name=f"decode_attention {name}", axes=("user", "head", "dim"))
        new[users, :, positions] = old[users, :, positions]
        changed = (new != old).any(dim=-1).nonzero().tolist()
        compare.check(f"no other {name} changes", not changed, f"changed at [user, head, position] {changed[:3]}")


def test_decode_mlp(
    model: BringupModel,
    layer: LayerKey,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    mlp = MLP(mesh_device, model_config, model.layer_weights(layer), precision=precision, weight_cache=weight_cache)
    x = model.decode_activations(model_config.users, layer=layer, point="mlp")
    spread = model_config.parallelism.spread("whole", "residual")
    compare(model.reference_layer(layer).mlp, mlp.decode, x[None, None], axes=USERS, spread=spread)


def test_decode_embedding(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    shape = (model_config.parallelism.data, 32)
    tokens = torch.randint(model_config.vocab_size, shape, generator=torch.Generator().manual_seed(model.seed))
    tokens[0, 0], tokens[0, 1] = 0, model_config.vocab_size - 1
    embedding = Embedding(mesh_device, model_config, model.weights(), precision=precision, weight_cache=weight_cache)
    spread = model_config.parallelism.spread("tokens", "residual")

    def reference(tokens: torch.Tensor) -> torch.Tensor:
        return model.reference.model.embed_tokens(tokens.flatten())[None, None]

    compare(reference, embedding.decode, tokens, axes=USERS, spread=spread)


def test_decode_lm_head(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    x = model.reference.model.norm(model.decode_activations(model_config.users, layer="last"))
    lm_head = LMHead(mesh_device, model_config, model.weights(), precision=precision, weight_cache=weight_cache)
    spread = model_config.parallelism.spread("whole", "whole")
    compare(model.reference.lm_head, lm_head.decode, x[None, None], axes=(None, None, "user", "token"), spread=spread)
