"""Stage 9, continued: prefill of one user among 32 through a decoder layer, then through the stack.

Every comparison looks at all tokens, and at K and V of all positions. Padding rows hold noise that must not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn
from decode_inputs import read_history
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
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.model import CausalLM
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.prefill_chunk import PrefillChunk
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel, LayerKey
from pytest_ttbringup.reference.prefill import reference_prefill_layer, reference_prefill_stack

pytestmark = pytest.mark.stage("prefill")

LAYER_PCC, STACK_PCC = 0.998, 0.99
"""Those of stages 3 and 4."""


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
        return parallelism.prefilled(out, tokens)

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
        rows = config.parallelism.prefilled(hidden, tokens)[0, 0]
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
