"""Stage 9, continued: attention of one user among 32, whole and in chunks, and the KV cache it fills.

Every comparison looks at all tokens, and at K and V of all positions. Padding rows hold noise that must not matter.
"""

from __future__ import annotations

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
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel, LayerKey
from pytest_ttbringup.reference.prefill import reference_prefill_attention

pytestmark = pytest.mark.stage("prefill")


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
        return parallelism.prefilled(out, tokens)

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
        return parallelism.prefilled(out, length)[0, 0]

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
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
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

    at_once = model_config.parallelism.prefilled(
        attention.prefill(
            on_device(padded(x, chunk.rows)),
            chunk=chunk,
            rotary_tables=rotary.prefill_tables(chunk.positions),
            kv_cache=prefilled,
        ),
        tokens,
    )[0, 0]
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
        step_by_step.append(model_config.parallelism.prefilled(out)[0, 0, USER])
    compare(torch.stack(step_by_step), at_once, name="prefill_attention against decode", axes=("position", "dim"))
    for part, one, other in zip(("key", "value"), read_history(decoded), read_history(prefilled), strict=True):
        compare(
            one[USER, :, :tokens],
            other[USER, :, :tokens],
            name=f"prefill_attention {part} against decode",
            axes=("head", "position", "dim"),
        )
