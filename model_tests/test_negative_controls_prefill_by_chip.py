"""Each fault of a prefill for several instances turns its rung red, and the message names the chip that differs.

On a mesh of one row each chip is an instance, else each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import test_09_prefill as modules
import test_09_prefill_attention as attention
import test_09_prefill_layers as layers
import test_10_prefill_then_decode as both
import test_12_data_parallel as data_parallel
import torch
import ttnn
from evidence import compared_by
from faults import among_chips, by_chip, stale_on_the_last_chip, stale_sum
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.page_table import FillTable
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import DEFAULT_PRECISION
from ttnn_models.prefill_chunk import PrefillChunk
from ttnn_models.prefilling import Prefilling
from ttnn_models.weights import UNCACHED, WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel

TOKENS = 200


@pytest.fixture
def parallelism(mesh_device: ttnn.MeshDevice) -> Parallelism:
    """Several instances."""
    shape = tuple(mesh_device.shape)
    if shape == (1, 1):
        pytest.skip("a fault between instances wants several chips; for instance --tt-mesh=1x2")
    return Parallelism.over(shape, "dp" if 1 in shape else "dpxtp")


@pytest.fixture(params=["contiguous", "paged"])
def attends(
    request: pytest.FixtureRequest,
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    parallelism: Parallelism,
    as_prefill: Compare,
) -> Callable[[], None]:
    """The rung of attention."""
    cache: str = request.param
    place = mesh_device, DEFAULT_PRECISION, UNCACHED, parallelism, as_prefill
    return lambda: attention.test_prefill_attention(model, "first", TOKENS, cache, *place)


@pytest.fixture
def stack(model: BringupModel, causal_lm: CausalLM, as_prefill: Compare) -> Callable[[], None]:
    """The rung of all layers and the last token's logits."""
    return lambda: layers.test_prefill_stack(model, TOKENS, "contiguous", causal_lm, as_prefill, lambda _: None)


def turned(tensor: ttnn.Tensor, parallelism: Parallelism) -> ttnn.Tensor:
    """Each instance gets what the next one has."""
    chips = parallelism.tensor
    return among_chips(tensor, lambda parts: [*parts[chips:], *parts[:chips]])


def test_without_a_fault_the_rungs_are_green(
    attends: Callable[[], None],
    stack: Callable[[], None],
    parallelism: Parallelism,
    causal_lm: CausalLM,
    request: pytest.FixtureRequest,
) -> None:
    assert len(compared_by(request, attends)) == 3 * parallelism.data + 2
    assert len(compared_by(request, stack)) == (3 * causal_lm.config.num_layers + 2) * parallelism.data


def test_another_instances_cache_is_red(
    attends: Callable[[], None], parallelism: Parallelism, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The K and V of each instance's prompt go to the cache of the one before."""
    for cache in (ContiguousKVCache, PagedKVCache):
        fill = cache.fill
        monkeypatch.setattr(
            cache,
            "fill",
            lambda self, key, value, chunk, fill=fill: fill(
                self, turned(key, parallelism), turned(value, parallelism), chunk
            ),
        )
    with pytest.raises(AssertionError, match=rf"PCC -?\d\.\d+ < 0\.999 +prefill_attention key{parallelism.chips(0)}\b"):
        attends()


def test_another_instances_tokens_are_red(
    stack: Callable[[], None], parallelism: Parallelism, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = PrefillChunk.of
    monkeypatch.setattr(
        PrefillChunk,
        "of",
        lambda *arguments, **how: replace(it := of(*arguments, **how), tokens=turned(it.tokens, parallelism)),
    )
    with pytest.raises(
        AssertionError, match=rf"PCC -?\d\.\d+ < 0\.99 +prefill_stack after layer 1{parallelism.chips(0)}\b"
    ):
        stack()


def test_the_first_instances_last_row_is_red(
    stack: Callable[[], None], parallelism: Parallelism, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All chips take the row of the first one's last token, as a slice would."""
    last_logits = CausalLM.last_logits

    def same(self: CausalLM, hidden: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        first = by_chip(chunk.last_rows, lambda rows: torch.full_like(rows, chunk.lengths[0] - 1))
        return last_logits(self, hidden, replace(chunk, last_rows=first))

    monkeypatch.setattr(CausalLM, "last_logits", same)
    name = "prefill_stack: the last token's logits against the last of all"
    with pytest.raises(AssertionError, match=rf"PCC -?\d\.\d+ < 0\.999 +{name}{parallelism.chips(1)}\b"):
        stack()


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_who_takes_no_part_but_is_written_is_red(
    model: BringupModel,
    causal_lm: CausalLM,
    parallelism: Parallelism,
    compare: Compare,
    cache: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every chip writes to the row's user, whether its instance reads something or not."""
    fill = FillTable.fill

    def everywhere(self: FillTable, blocks: ttnn.Tensor, rows: ttnn.Tensor, chunk: PrefillChunk) -> None:
        slots = by_chip(chunk.slots, lambda slots: torch.full_like(slots, chunk.user))
        fill(self, blocks, rows, replace(chunk, slots=slots))

    monkeypatch.setattr(FillTable, "fill", everywhere)
    with pytest.raises(AssertionError, match=rf"and no others: changed: .*user 37{parallelism.chips(1)}\b"):
        data_parallel.test_data_parallel_prefill_of_one(model, causal_lm, cache, compare)


def test_another_instances_first_token_turns_the_text_red(
    model: BringupModel,
    causal_lm: CausalLM,
    compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tokens chosen for each instance are given to the one before."""
    next_tokens, generator = Prefilling.next_tokens, Generator(causal_lm, prefill=True)

    def exchanged(self: Prefilling, prompts: dict[int, list[int]], choose: object) -> dict[int, int]:
        tokens = next_tokens(self, prompts, choose)  # type: ignore[arg-type]
        return {slot: tokens.get((slot + 32) % generator.users, tokens[slot]) for slot in prompts}

    monkeypatch.setattr(Prefilling, "next_tokens", exchanged)
    with pytest.raises(AssertionError, match=r"of the users start as in the reference: .* not users \["):
        both.test_prefill_then_decode(model, generator, compare, lambda _: None)


def test_a_stale_weight_replica_is_red(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    parallelism: Parallelism,
    as_prefill: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last chip has the rows of the embedding one token off."""
    load = WeightCache.load

    def stale(self: WeightCache, name: str, tensor: torch.Tensor, **how: object) -> ttnn.Tensor:
        loaded = load(self, name, tensor, **how)  # type: ignore[arg-type]
        return stale_on_the_last_chip(loaded) if name == "embed_tokens" else loaded

    monkeypatch.setattr(WeightCache, "load", stale)
    where = parallelism.chips(parallelism.data - 1)
    with pytest.raises(AssertionError, match=rf"PCC -?\d\.\d+ < 0\.999 +prefill_embedding{where}\b"):
        modules.test_prefill_embedding(model, TOKENS, mesh_device, DEFAULT_PRECISION, UNCACHED, parallelism, as_prefill)


def test_a_stale_sum_is_red(
    attends: Callable[[], None], parallelism: Parallelism, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parallelism.tensor == 1:
        pytest.skip("chips that are an instance each share no sums; for instance --tt-mesh=2x2")
    stale_sum(monkeypatch)
    last = parallelism.data * parallelism.tensor - 1
    with pytest.raises(
        AssertionError, match=rf"chip {last} holds other values than chip {last - parallelism.tensor + 1}"
    ):
        attends()
