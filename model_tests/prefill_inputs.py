"""What the prefill rungs feed both sides: rows of one user of each instance, and KV caches that hold something already.

Each instance has rows of its own, and the first has the most.

Shapes: I instances, S rows, D hidden, B users, K KV heads, P positions, h head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import ttnn
from decode_inputs import read_history, shuffled_page_table
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.kv_cache import KVCache
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.parallelism import Form, Parallelism
from ttnn_models.precision import DEFAULT_PRECISION, PrecisionConfig
from ttnn_models.prefill_chunk import PrefillChunk

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.tensors import to_mesh
from pytest_ttbringup.reference.activations import Point
from pytest_ttbringup.reference.layer import LayerOutput
from pytest_ttbringup.reference.model import BringupModel, LayerKey

USER = 5
"""Whose cache is filled, on each instance: neither the first nor the last of a batch."""

LENGTHS = (
    pytest.param(128, id="128"),
    pytest.param(512, id="512"),
    pytest.param(7, id="7"),
    pytest.param(333, id="333"),
)
"""Tokens of a prefill: multiples of 128 and no multiples of 32."""

LONG = pytest.param(2048, id="long", marks=pytest.mark.slow)
"""2048 tokens, or the model's whole context if that is shorter."""

ROWS = (None, None, "position", "dim")


def prefill_config(model: BringupModel, tokens: int, parallelism: Parallelism) -> ModelConfig:
    """The model's sizes, with room for so many tokens and for a tile more, if its context has that."""
    positions = min(-(-tokens // 32) * 32 + 32, _context(model))
    return ModelConfig.from_hf(model.config, max_seq_len=positions, parallelism=parallelism)


def tokens_of(model: BringupModel, tokens: int) -> int:
    """So many tokens, or the model's whole context."""
    return min(tokens, _context(model))


def _context(model: BringupModel) -> int:
    return int(model.config.max_position_embeddings)


def lengths_of(parallelism: Parallelism, tokens: int) -> list[int]:
    """So many tokens for the first instance, and evenly fewer for each that follows."""
    return [-(-tokens * (parallelism.data - instance) // parallelism.data) for instance in range(parallelism.data)]


def texts_of(model: BringupModel, parallelism: Parallelism, tokens: int) -> list[list[int]]:
    """A text of such a length for each instance, each going on at another token of the passage.

    All begin with the passage's first token: at position 0, which sees no other, SmolLM2's activations are up to 160
    times the median of the rest (norms), so a text's scale and offset are those of its first token.
    """
    first, *passage = model.passage(tokens)
    lengths = enumerate(lengths_of(parallelism, tokens))
    return [[first, *passage[place : place + length - 1]] for place, length in lengths]


def rows_of(
    model: BringupModel, parallelism: Parallelism, tokens: int, *, layer: LayerKey, point: Point
) -> list[torch.Tensor]:
    """Activations [S', D] of such a length for each instance."""
    return [
        model.prefill_activations(length, layer=layer, point=point, seed=model.seed + 100 * instance)
        for instance, length in enumerate(lengths_of(parallelism, tokens))
    ]


def instances_rows(
    model: BringupModel, parallelism: Parallelism, rows: int, *, layer: LayerKey, point: Point = "layer"
) -> torch.Tensor:
    """Activations [I, 1, S, D], as many for each instance."""
    drawn = model.prefill_activations(parallelism.data * rows, layer=layer, point=point)
    return drawn.reshape(parallelism.data, 1, rows, -1)


def chunk_of(
    mesh_device: ttnn.MeshDevice, config: ModelConfig, lengths: Sequence[int], *, user: int = USER, start: int = 0
) -> PrefillChunk:
    """A chunk for a module that sees no tokens but only their activations."""
    return PrefillChunk.of(mesh_device, config, [[0] * length for length in lengths], user=user, start=start)


def padded(
    mesh_device: ttnn.MeshDevice, parallelism: Parallelism, inputs: Sequence[torch.Tensor], rows: int, form: Form
) -> ttnn.Tensor:
    """[S', D] of each instance → [1, 1, S, D] in such a form: behind the tokens is noise, which must not matter."""
    generator = torch.Generator().manual_seed(2)
    scale, width = 3 * inputs[0].std(), inputs[0].shape[1]
    filled = [torch.cat([x, torch.randn(rows - len(x), width, generator=generator) * scale]) for x in inputs]
    spread = parallelism.spread(form, form, prefill=True)
    placed: ttnn.Tensor = to_mesh(torch.stack(filled)[:, None], lambda: mesh_device, spread)
    return placed


def compare_rows(
    compare: Compare,
    name: str,
    parallelism: Parallelism,
    expected: Sequence[torch.Tensor],
    actual: Sequence[torch.Tensor],
    *,
    axes: tuple[str, ...] = ("position", "dim"),
    **how: Any,
) -> None:
    """Compare what each instance gives, with its own reference, `how` as in `compare`; the failure names the chips."""
    for instance, (reference, rows) in enumerate(zip(expected, actual, strict=True)):
        compare(reference, rows, name=f"{name}{parallelism.chips(instance)}", axes=axes, **how)


def new_cache(
    kind: str, mesh_device: ttnn.MeshDevice, config: ModelConfig, precision: PrecisionConfig = DEFAULT_PRECISION
) -> KVCache:
    """A `contiguous` or a `paged` cache, the latter with a shuffled page table."""
    if kind == "contiguous":
        return ContiguousKVCache(mesh_device, config, precision=precision)
    page_table = shuffled_page_table(mesh_device, config)
    return PagedKVCache(mesh_device, config, page_table=page_table, precision=precision)


def used_cache(
    kind: str, mesh_device: ttnn.MeshDevice, config: ModelConfig, precision: PrecisionConfig = DEFAULT_PRECISION
) -> KVCache:
    """A cache in which every position of every user holds something."""
    cache = new_cache(kind, mesh_device, config, precision)
    generator = torch.Generator().manual_seed(3)
    shape = (config.users, config.num_kv_heads, config.max_seq_len, config.head_dim)
    cache.load_torch(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
    return cache


def compare_cache(
    compare: Compare,
    name: str,
    parallelism: Parallelism,
    expected: Sequence[LayerOutput],
    before: tuple[torch.Tensor, torch.Tensor],
    kv_cache: KVCache,
    *,
    user: int = USER,
) -> None:
    """K and V [K, S, h] of each instance's prefill at all its positions; and that no other position of anybody changed.

    Only padding up to the end of the longest one's last tile may have: decode overwrites it before it looks there.
    """
    pasts = [(output.keys, output.values) for output in expected]
    end = -(-max(key.shape[1] for key, _ in pasts) // 32) * 32
    for number, (part, old, new) in enumerate(zip(("key", "value"), before, read_history(kv_cache), strict=True)):
        own = new[user::DECODE_BATCH]
        references = [past[number] for past in pasts]
        cached = [rows[:, : past.shape[1]] for rows, past in zip(own, references, strict=True)]
        axes = ("head", "position", "dim")
        compare_rows(compare, f"{name} {part}", parallelism, references, cached, axes=axes)
        new[user::DECODE_BATCH, :, :end] = old[user::DECODE_BATCH, :, :end]
        changed = (new != old).any(dim=-1).nonzero().tolist()
        where = parallelism.chips(changed[0][0] // DECODE_BATCH) if changed else ""
        compare.check(
            f"no other {part} changes", not changed, f"changed at [user, head, position] {changed[:3]}{where}"
        )
