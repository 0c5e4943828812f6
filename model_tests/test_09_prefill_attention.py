"""Stage 9, continued: attention of one user of each instance, whole and in chunks, and the KV cache it fills.

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
    USER,
    chunk_of,
    compare_cache,
    compare_rows,
    new_cache,
    padded,
    prefill_config,
    rows_of,
    tokens_of,
    used_cache,
)
from ttnn_models.attention import Attention
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.tensors import to_mesh
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
    inputs = rows_of(model, parallelism, tokens, layer=layer, point="attention")
    expected = [reference_prefill_attention(model.reference, model.layer_index(layer), x) for x in inputs]

    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = Attention(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    kv_cache = used_cache(cache, mesh_device, config, precision)
    before = read_history(kv_cache)
    chunk = chunk_of(mesh_device, config, [len(x) for x in inputs])
    tables = rotary.prefill_tables(chunk.positions)
    x = padded(mesh_device, parallelism, inputs, chunk.rows, "whole")
    out = parallelism.prefilled(attention.prefill(x, chunk=chunk, rotary_tables=tables, kv_cache=kv_cache))[:, 0]
    rows = [row[:length] for row, length in zip(out, chunk.lengths, strict=True)]
    compare_rows(compare, "prefill_attention output", parallelism, [it.output for it in expected], rows)
    compare_cache(compare, "prefill_attention", parallelism, expected, before, kv_cache)


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
    inputs = rows_of(model, parallelism, tokens, layer=layer, point="attention")
    expected = [reference_prefill_attention(model.reference, model.layer_index(layer), x) for x in inputs]

    rotary = RotaryEmbedding(mesh_device, config, precision=precision)
    attention = Attention(
        mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision, weight_cache=weight_cache
    )
    caches = {name: used_cache(cache, mesh_device, config, precision) for name in ("whole", "chunks")}
    before = read_history(caches["chunks"])

    def prefill(name: str, start: int, length: int) -> list[torch.Tensor]:
        """The output of each instance; one whose text has ended takes no part any more."""
        parts = [x[start : start + length] for x in inputs]
        chunk = chunk_of(mesh_device, config, [len(part) for part in parts], start=start)
        x = padded(mesh_device, parallelism, parts, chunk.rows, "whole")
        tables = rotary.prefill_tables(chunk.positions)
        out = parallelism.prefilled(attention.prefill(x, chunk=chunk, rotary_tables=tables, kv_cache=caches[name]))
        return [row[: len(part)] for row, part in zip(out[:, 0], parts, strict=True)]

    in_chunks = [prefill("chunks", start, length) for start, length in chunks]
    out = [torch.cat(parts) for parts in zip(*in_chunks, strict=True)]
    whole = prefill("whole", 0, tokens)
    compare_rows(compare, "prefill_attention chunks", parallelism, [it.output for it in expected], out)
    compare_cache(compare, "prefill_attention chunks", parallelism, expected, before, caches["chunks"])
    compare_rows(compare, "prefill_attention chunks against whole", parallelism, whole, out)
    for part, one, other in zip(("key", "value"), *(map(read_history, caches.values())), strict=True):
        # Not bit for bit: TT-NN adds the blocks of a product in other steps where it has other rows.
        first, second = (
            [rows[:, : len(x)] for rows, x in zip(past[USER::DECODE_BATCH], inputs, strict=True)]
            for past in (one, other)
        )
        axes = ("head", "position", "dim")
        compare_rows(
            compare, f"prefill_attention {part} in chunks against whole", parallelism, first, second, axes=axes
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
    parallelism = model_config.parallelism
    inputs = rows_of(model, parallelism, 40, layer=layer, point="attention")
    attention = Attention(
        mesh_device,
        model_config,
        model.layer_weights(layer),
        rotary=rotary,
        precision=precision,
        weight_cache=weight_cache,
    )
    prefilled, decoded = (new_cache(cache, mesh_device, model_config, precision) for _ in range(2))
    chunk = chunk_of(mesh_device, model_config, [len(x) for x in inputs])
    out = attention.prefill(
        padded(mesh_device, parallelism, inputs, chunk.rows, "whole"),
        chunk=chunk,
        rotary_tables=rotary.prefill_tables(chunk.positions),
        kv_cache=prefilled,
    )
    at_once = [row[: len(x)] for row, x in zip(parallelism.prefilled(out)[:, 0], inputs, strict=True)]
    step_by_step: list[list[torch.Tensor]] = [[] for _ in inputs]
    positions = torch.full((model_config.users,), -1)
    for position in range(len(inputs[0])):
        rows = [x[min(position, len(x) - 1)].expand(DECODE_BATCH, -1) for x in inputs]
        positions[USER::DECODE_BATCH] = torch.tensor([position if position < len(x) else -1 for x in inputs])
        state = decode_state(mesh_device, positions, parallelism=parallelism)
        spread = parallelism.spread("whole", "residual")
        out = attention.decode(
            to_mesh(torch.cat(rows)[None, None], lambda: mesh_device, spread),
            positions=state.positions,
            rotary_tables=rotary.decode_tables(state.rotary_positions),
            kv_cache=decoded,
        )
        users = parallelism.join(out, data=2, tensor_dim=parallelism.residual_dim)[0, 0, USER::DECODE_BATCH]
        for steps, row, x in zip(step_by_step, users, inputs, strict=True):
            steps += [row] if position < len(x) else []
    expected = [torch.stack(steps) for steps in step_by_step]
    compare_rows(compare, "prefill_attention against decode", parallelism, expected, at_once)
    for part, *pasts in zip(("key", "value"), read_history(decoded), read_history(prefilled), strict=True):
        first, second = (
            [rows[:, : len(x)] for rows, x in zip(past[USER::DECODE_BATCH], inputs, strict=True)] for past in pasts
        )
        axes = ("head", "position", "dim")
        compare_rows(compare, f"prefill_attention {part} against decode", parallelism, first, second, axes=axes)
