"""Stage 9: prefill of one user among 32: each module alone, a layer, the stack.

Every comparison looks at all tokens, and at K and V of all positions. Padding rows hold noise that must not matter.

Shapes: S rows, D hidden, H heads, K KV heads, h head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn
from decode_inputs import decode_state, read_history
from prefill_inputs import (
    LENGTHS,
    LONG,
    ROWS,
    USER,
    chunk_of,
    compare_cache,
    new_cache,
    padded,
    prefill_config,
    tokens_of,
    used_cache,
)
from ttnn_models.attention import Attention
from ttnn_models.config import ModelConfig
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.embedding import Embedding
from ttnn_models.lm_head import LMHead
from ttnn_models.mlp import MLP
from ttnn_models.model import CausalLM
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
from pytest_ttbringup.reference.prefill import (
    reference_prefill_attention,
    reference_prefill_layer,
    reference_prefill_stack,
)

pytestmark = pytest.mark.stage("prefill")

NORM_PCC = 0.9999
"""That of stage 2."""
LAYER_PCC, STACK_PCC = 0.998, 0.99
"""Those of stages 3 and 4."""


@pytest.mark.parametrize("norm", ["input_layernorm", "post_attention_layernorm"])
@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_rms_norm(
    model: BringupModel,
    layer: LayerKey,
    norm: str,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    model_config: ModelConfig,
    compare: Compare,
) -> None:
    reference = getattr(model.reference_layer(layer), norm)
    rms_norm = RMSNorm(mesh_device, model_config, reference.weight, precision=precision)
    x = model.prefill_activations(tokens, layer=layer)[None, None]
    spread = model_config.parallelism.spread("residual", "whole", users=False)
    compare(reference, rms_norm.prefill, x, axes=ROWS, pcc_threshold=NORM_PCC, spread=spread)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_rotary(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    tokens = tokens_of(model, tokens)
    config = prefill_config(model, tokens, parallelism)
    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = model.reference_layer(layer).self_attn
    chunk = chunk_of(mesh_device, config, tokens)
    x = padded(model.prefill_activations(tokens, layer=layer, point="attention"), chunk.rows)[0, 0]
    heads = {
        "query": attention.q_proj(x).unflatten(-1, (-1, config.head_dim)),  # [S, H, h]
        "key": attention.k_proj(x).unflatten(-1, (-1, config.head_dim)),  # [S, K, h]
    }
    expected = reference_rotary(model.config, heads["query"], heads["key"], torch.arange(chunk.rows))
    tables = rotary.prefill_tables(chunk.positions)
    for (name, x), rotated in zip(heads.items(), expected, strict=True):
        on_device = ttnn.from_torch(
            to_interleaved(x).transpose(0, 1)[None],  # [1, n, S, h]
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
        )
        out = parallelism.join(rotary.prefill(on_device, tables)).float()
        compare(
            rotated.transpose(0, 1),
            from_interleaved(out[0]),
            name=f"prefill_rotary {name}",
            axes=("head", "position", "dim"),
        )


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_attention(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    """The output, and K and V of the cache: all that was written, and that nothing else was."""
    tokens = tokens_of(model, tokens)
    config = prefill_config(model, tokens, parallelism)
    x = model.prefill_activations(tokens, layer=layer, point="attention")
    expected = reference_prefill_attention(model.reference, model.layer_index(layer), x)

    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = Attention(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    kv_cache = used_cache(cache, mesh_device, config, precision)
    before = read_history(kv_cache)
    chunk = chunk_of(mesh_device, config, tokens)
    tables = rotary.prefill_tables(chunk.positions)

    def prefill(x: ttnn.Tensor) -> torch.Tensor:
        out = attention.prefill(x, chunk=chunk, rotary_tables=tables, kv_cache=kv_cache)
        return parallelism.residual_on_host(out)[:, :, :tokens]

    compare(lambda _: expected.output, prefill, padded(x, chunk.rows), name="prefill_attention output", axes=ROWS)
    compare_cache(compare, "prefill_attention", expected[1:], before, kv_cache)


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_prefill_attention_in_chunks(
    model: BringupModel,
    layer: LayerKey,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    """A text in three chunks, the last one short, gives what the whole text gives at once."""
    chunks = ((0, 128), (128, 128), (256, 77))
    tokens = sum(length for _, length in chunks)
    config = prefill_config(model, tokens, parallelism)
    x = model.prefill_activations(tokens, layer=layer, point="attention")
    expected = reference_prefill_attention(model.reference, model.layer_index(layer), x)

    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = Attention(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    caches = {name: used_cache(cache, mesh_device, config, precision) for name in ("whole", "chunks")}
    before = read_history(caches["chunks"])

    def prefill(name: str, start: int, length: int) -> torch.Tensor:
        chunk = chunk_of(mesh_device, config, length, start=start)
        rows = ttnn.from_torch(
            padded(x[start : start + length], chunk.rows),
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
        )
        out = attention.prefill(
            rows, chunk=chunk, rotary_tables=rotary.prefill_tables(chunk.positions), kv_cache=caches[name]
        )
        return parallelism.residual_on_host(out)[0, 0, :length]

    out = torch.cat([prefill("chunks", start, length) for start, length in chunks])
    whole = prefill("whole", 0, tokens)
    compare(expected.output, out, name="prefill_attention chunks", axes=("position", "dim"))
    compare_cache(compare, "prefill_attention chunks", expected[1:], before, caches["chunks"])
    compare(whole, out, name="prefill_attention chunks against whole", axes=("position", "dim"))
    for part, one, other in zip(("key", "value"), *(map(read_history, caches.values())), strict=True):
        # Not bit for bit: TT-NN adds the blocks of a product in other steps where it has other rows.
        compare(
            one[USER, :, :tokens],
            other[USER, :, :tokens],
            name=f"prefill_attention {part} in chunks against whole",
            axes=("head", "position", "dim"),
        )


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_prefill_attention_agrees_with_decode(
    model: BringupModel,
    layer: LayerKey,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    """One user's rows at once, and the same rows one decode step each: the same output, the same K and V."""
    tokens = 40
    x = model.prefill_activations(tokens, layer=layer, point="attention")
    attention = Attention(
        mesh_device,
        model_config,
        model.layer_weights(layer),
        rotary=rotary,
        precision=precision,
        weight_cache=weight_cache,
    )
    prefilled, decoded = (new_cache(cache, mesh_device, model_config, precision) for _ in range(2))
    chunk = chunk_of(mesh_device, model_config, tokens)

    def on_device(rows: torch.Tensor) -> ttnn.Tensor:
        return ttnn.from_torch(rows, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)

    at_once = model_config.parallelism.residual_on_host(
        attention.prefill(
            on_device(padded(x, chunk.rows)),
            chunk=chunk,
            rotary_tables=rotary.prefill_tables(chunk.positions),
            kv_cache=prefilled,
        )
    )[0, 0, :tokens]
    step_by_step = []
    positions = torch.full((32,), -1)
    for position, row in enumerate(x):
        positions[USER] = position
        state = decode_state(mesh_device, positions)
        out = attention.decode(
            on_device(row.expand(32, -1)[None, None]),
            positions=state.positions,
            rotary_tables=rotary.decode_tables(state.rotary_positions),
            kv_cache=decoded,
        )
        step_by_step.append(model_config.parallelism.residual_on_host(out)[0, 0, USER])
    compare(torch.stack(step_by_step), at_once, name="prefill_attention against decode", axes=("position", "dim"))
    for part, one, other in zip(("key", "value"), read_history(decoded), read_history(prefilled), strict=True):
        compare(
            one[USER, :, :tokens],
            other[USER, :, :tokens],
            name=f"prefill_attention {part} against decode",
            axes=("head", "position", "dim"),
        )


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_mlp(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    model_config: ModelConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    mlp = MLP(mesh_device, model_config, model.layer_weights(layer), precision=precision, weight_cache=weight_cache)
    x = model.prefill_activations(padded_rows(tokens, tokens + 1024), layer=layer, point="mlp")
    spread = model_config.parallelism.spread("whole", "residual", users=False)
    compare(model.reference_layer(layer).mlp, mlp.prefill, x[None, None], axes=ROWS, spread=spread)


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
    text = torch.randint(config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(model.seed))
    text[0], text[-1] = config.vocab_size - 1, 0
    embedding = Embedding(mesh_device, config, model.weights(), precision=precision, weight_cache=weight_cache)
    chunk = PrefillChunk.of(mesh_device, config, text.tolist(), user=USER)
    rows = parallelism.residual_on_host(embedding.prefill(chunk.tokens))[:, :, :tokens]
    compare(model.reference.model.embed_tokens(text)[None, None], rows, axes=ROWS)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_lm_head(
    model: BringupModel,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    model_config: ModelConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    x = model.reference.model.norm(model.prefill_activations(padded_rows(tokens, tokens + 1024), layer="last"))
    lm_head = LMHead(mesh_device, model_config, model.weights(), precision=precision, weight_cache=weight_cache)
    spread = model_config.parallelism.spread("whole", "whole", users=False)
    axes = (None, None, "position", "token")
    compare(model.reference.lm_head, lm_head.prefill, x[None, None], axes=axes, spread=spread)


@pytest.mark.parametrize("tokens", [*LENGTHS, LONG])
def test_prefill_layer(
    model: BringupModel,
    layer: LayerKey,
    tokens: int,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    tokens = tokens_of(model, tokens)
    config = prefill_config(model, tokens, parallelism)
    x = model.prefill_activations(tokens, layer=layer)
    expected = reference_prefill_layer(model.reference, model.layer_index(layer), x)
    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    decoder_layer = DecoderLayer.from_weights(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    kv_cache = used_cache("contiguous", mesh_device, config, precision)
    before = read_history(kv_cache)
    chunk = chunk_of(mesh_device, config, tokens)
    tables = rotary.prefill_tables(chunk.positions)

    def prefill(x: ttnn.Tensor) -> torch.Tensor:
        out = decoder_layer.prefill(x, chunk=chunk, rotary_tables=tables, kv_cache=kv_cache)
        return parallelism.residual_on_host(out)[:, :, :tokens]

    compare(
        lambda _: expected.output,
        prefill,
        padded(x, chunk.rows),
        name="prefill_layer output",
        axes=ROWS,
        pcc_threshold=LAYER_PCC,
        spread=parallelism.spread("residual", "residual", users=False),
    )
    compare_cache(compare, "prefill_layer", expected[1:], before, kv_cache)


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
@pytest.mark.parametrize("tokens", [128, 200], ids=str)
def test_prefill_stack(
    model: BringupModel,
    tokens: int,
    cache: str,
    causal_lm: CausalLM,
    compare: Compare,
    progress: Callable[[str], None],
) -> None:
    """A text through all layers: the hidden state, K and V after every layer, then the logits."""
    text = model.passage(tokens)
    expected = reference_prefill_stack(model.reference, text)
    mesh_device, config = causal_lm.mesh_device, causal_lm.config
    chunk = PrefillChunk.of(mesh_device, config, text, user=USER)
    caches = [new_cache(cache, mesh_device, config, layer.attention.precision) for layer in causal_lm.decoder.layers]
    layers = causal_lm.decoder.prefill_layers(
        causal_lm.embedding.prefill(chunk.tokens),
        chunk=chunk,
        rotary_tables=causal_lm.rotary.prefill_tables(chunk.positions),
        kv_caches=caches,
    )
    axes = ("position", "dim")
    for number, (hidden, reference) in enumerate(zip(layers, expected.hidden, strict=True), start=1):
        rows = config.parallelism.residual_on_host(hidden)[0, 0, :tokens]
        name = f"prefill_stack after layer {number}"
        compare(reference, rows, name=name, axes=axes, pcc_threshold=STACK_PCC)
        for part, past, cached in zip(
            ("keys", "values"),
            (expected.keys[number - 1], expected.values[number - 1]),
            read_history(caches[number - 1]),
            strict=True,
        ):
            compare(
                past,
                cached[USER, :, :tokens],
                name=f"{name}: {part}",
                axes=("head", "position", "dim"),
                pcc_threshold=STACK_PCC,
            )
        progress(f"layer {number} of {len(expected.hidden)} compared")
    logits = config.parallelism.join(causal_lm.all_logits(hidden))[0, 0, :tokens]
    compare(expected.logits, logits, name="prefill_stack logits", axes=("position", "token"), pcc_threshold=STACK_PCC)
    last = config.parallelism.join(causal_lm.last_logits(hidden, chunk))[0, 0, chunk.last_row_in_tile]
    # Not bit for bit: TT-NN adds the blocks of a product in other steps where it has other rows.
    compare(logits[-1], last, name="prefill_stack: the last token's logits against the last of all", axes=("token",))
