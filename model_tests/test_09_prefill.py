"""Stage 9: prefill of one user of each instance: the modules that keep nothing; attention and the layers follow.

Shapes: I instances, S rows, D hidden, H heads, K KV heads, h head size, V vocabulary.
"""

from __future__ import annotations

import pytest
import torch
import ttnn
from prefill_inputs import (
    LENGTHS,
    LONG,
    ROWS,
    USER,
    chunk_of,
    compare_rows,
    instances_rows,
    lengths_of,
    prefill_config,
    tokens_of,
)
from ttnn_models.config import ModelConfig
from ttnn_models.embedding import Embedding
from ttnn_models.lm_head import LMHead
from ttnn_models.mlp import MLP
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.prefill_chunk import PrefillChunk, padded_rows
from ttnn_models.rms_norm import RMSNorm
from ttnn_models.rope import from_interleaved, to_interleaved
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import reference_rotary
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("prefill")

NORM_PCC = 0.9999
"""That of stage 2."""


@pytest.mark.parametrize("norm", ["input_layernorm", "post_attention_layernorm"])
@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_rms_norm(
    model: BringupModel,
    layer: LayerKey,
    norm: str,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    compare: Compare,
) -> None:
    reference = getattr(model.reference_layer(layer), norm)
    rms_norm = RMSNorm(mesh_device, model_config, reference.weight, precision=precision)
    x = instances_rows(model, model_config.parallelism, tokens, layer=layer)
    spread = model_config.parallelism.spread("residual", "whole", prefill=True)
    compare(reference, rms_norm.prefill, x, axes=ROWS, pcc_threshold=NORM_PCC, spread=spread)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_rotary(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    parallelism: Parallelism,
    precision: PrecisionConfig,
    compare: Compare,
) -> None:
    tokens = tokens_of(model, tokens)
    config = prefill_config(model, tokens, parallelism)
    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = model.reference_layer(layer).self_attn
    chunk = chunk_of(mesh_device, config, lengths_of(parallelism, tokens))
    x = instances_rows(model, parallelism, chunk.rows, layer=layer, point="attention")[:, 0]
    heads = {
        "query": attention.q_proj(x).unflatten(-1, (-1, config.head_dim)),  # [I, S, H, h]
        "key": attention.k_proj(x).unflatten(-1, (-1, config.head_dim)),  # [I, S, K, h]
    }
    positions = torch.arange(chunk.rows).repeat(parallelism.data)
    flat = (rows.flatten(0, 1) for rows in heads.values())
    expected = reference_rotary(model.config, *flat, positions)
    tables = rotary.prefill_tables(chunk.positions)
    for (name, x), rotated in zip(heads.items(), expected, strict=True):
        on_device = ttnn.from_torch(
            to_interleaved(x).transpose(1, 2),  # [I, n, S, h]
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
            mesh_mapper=parallelism.to_mesh(mesh_device, data=0),
        )
        out = from_interleaved(parallelism.join(rotary.prefill(on_device, tables), data=0).float())
        references = rotated.unflatten(0, (parallelism.data, -1)).transpose(1, 2)
        axes = ("head", "position", "dim")
        compare_rows(compare, f"prefill_rotary {name}", parallelism, list(references), list(out), axes=axes)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_mlp(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    mlp = MLP(mesh_device, model_config, model.layer_weights(layer), precision=precision, weight_cache=weight_cache)
    rows = padded_rows(tokens, tokens + 1024)
    x = instances_rows(model, model_config.parallelism, rows, layer=layer, point="mlp")
    spread = model_config.parallelism.spread("whole", "residual", prefill=True)
    compare(model.reference_layer(layer).mlp, mlp.prefill, x, axes=ROWS, spread=spread)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_embedding(
    model: BringupModel,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    tokens = tokens_of(model, tokens)
    config = prefill_config(model, tokens, parallelism)
    generator = torch.Generator().manual_seed(model.seed)
    texts = []
    for length in lengths_of(parallelism, tokens):
        text = torch.randint(config.vocab_size, (length,), generator=generator)
        text[0], text[-1] = config.vocab_size - 1, 0
        texts.append(text)
    embedding = Embedding(mesh_device, config, model.weights(), precision=precision, weight_cache=weight_cache)
    chunk = PrefillChunk.of(mesh_device, config, [text.tolist() for text in texts], user=USER)
    out = parallelism.prefilled(embedding.prefill(chunk.tokens))[:, 0]
    expected = [model.reference.model.embed_tokens(text) for text in texts]
    rows = [row[: len(text)] for row, text in zip(out, texts, strict=True)]
    compare_rows(compare, "prefill_embedding", parallelism, expected, rows)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_lm_head(
    model: BringupModel,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    rows = padded_rows(tokens, tokens + 1024)
    x = model.reference.model.norm(instances_rows(model, model_config.parallelism, rows, layer="last"))
    lm_head = LMHead(mesh_device, model_config, model.weights(), precision=precision, weight_cache=weight_cache)
    spread = model_config.parallelism.spread("whole", "whole", prefill=True)
    axes = (None, None, "position", "token")
    compare(model.reference.lm_head, lm_head.prefill, x, axes=axes, spread=spread)
