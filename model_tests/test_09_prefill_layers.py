"""Stage 9, continued: prefill of one user of each instance through a decoder layer, then through the stack.

Every comparison looks at all tokens, and at K and V of all positions. Padding rows hold noise that must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import ttnn
from decode_inputs import read_history
from prefill_inputs import (
    LENGTHS,
    LONG,
    USER,
    chunk_of,
    compare_cache,
    compare_rows,
    new_cache,
    padded,
    prefill_config,
    rows_of,
    texts_of,
    tokens_of,
    used_cache,
)
from ttnn_models.config import DECODE_BATCH
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
    inputs = rows_of(model, parallelism, tokens, layer=layer, point="layer")
    expected = [reference_prefill_layer(model.reference, model.layer_index(layer), x) for x in inputs]
    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    decoder_layer = DecoderLayer.from_weights(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    kv_cache = used_cache("contiguous", mesh_device, config, precision)
    before = read_history(kv_cache)
    chunk = chunk_of(mesh_device, config, [len(x) for x in inputs])
    tables = rotary.prefill_tables(chunk.positions)
    x = padded(mesh_device, parallelism, inputs, chunk.rows, "residual")
    out = parallelism.prefilled(decoder_layer.prefill(x, chunk=chunk, rotary_tables=tables, kv_cache=kv_cache))[:, 0]
    rows = [row[:length] for row, length in zip(out, chunk.lengths, strict=True)]
    outputs = [it.output for it in expected]
    compare_rows(compare, "prefill_layer output", parallelism, outputs, rows, pcc_threshold=LAYER_PCC)
    compare_cache(compare, "prefill_layer", parallelism, expected, before, kv_cache)


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
    mesh_device, config = causal_lm.mesh_device, causal_lm.config
    parallelism = config.parallelism
    texts = texts_of(model, parallelism, tokens)
    expected = [reference_prefill_stack(model.reference, text) for text in texts]
    chunk = PrefillChunk.of(mesh_device, config, texts, user=USER)
    caches = [new_cache(cache, mesh_device, config, layer.attention.precision) for layer in causal_lm.decoder.layers]
    layers = causal_lm.decoder.prefill_layers(
        causal_lm.embedding.prefill(chunk.tokens),
        chunk=chunk,
        rotary_tables=causal_lm.rotary.prefill_tables(chunk.positions),
        kv_caches=caches,
    )

    def tokens_of_each(rows: torch.Tensor) -> list[torch.Tensor]:
        return [row[: len(text)] for row, text in zip(rows[:, 0], texts, strict=True)]

    compared = partial(compare_rows, compare, pcc_threshold=STACK_PCC)
    for number, (hidden, cached) in enumerate(zip(layers, caches, strict=True), start=1):
        name = f"prefill_stack after layer {number}"
        references = [it.hidden[number - 1] for it in expected]
        compared(name, parallelism, references, tokens_of_each(parallelism.prefilled(hidden)))
        for part, history in zip(("keys", "values"), read_history(cached), strict=True):
            pasts = [getattr(it, part)[number - 1] for it in expected]
            own = [past[:, : len(text)] for past, text in zip(history[USER::DECODE_BATCH], texts, strict=True)]
            compared(f"{name}: {part}", parallelism, pasts, own, axes=("head", "position", "dim"))
        progress(f"layer {number} of {len(caches)} compared")
    logits = tokens_of_each(parallelism.join(causal_lm.all_logits(hidden), data=0))
    axes = ("position", "token")
    true = [it.logits for it in expected]
    compared("prefill_stack logits", parallelism, true, logits, axes=axes, max_offset_error=None)  # as in stage 5
    last = parallelism.join(causal_lm.last_logits(hidden, chunk), data=0)[:, 0, USER]
    # Not bit for bit: TT-NN adds the blocks of a product in other steps where it has other rows.
    name = "prefill_stack: the last token's logits against the last of all"
    compare_rows(compare, name, parallelism, [rows[-1] for rows in logits], list(last), axes=("token",))
