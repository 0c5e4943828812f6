"""The faults of a prefill, as in `test_negative_controls`: each turns the rung red, at the rung's own threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import test_09_prefill_attention as attention
import test_09_prefill_layers as layers
import test_10_prefill_then_decode as both
import test_11_performance as performance
import torch
import ttnn
from evidence import compared_by
from faults import by_chip
from ttnn_models.attention import Attention
from ttnn_models.config import DECODE_BATCH
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import DEFAULT_PRECISION
from ttnn_models.prefill_chunk import PrefillChunk
from ttnn_models.rotary_embedding import RotaryEmbedding, RotaryTables
from ttnn_models.weights import UNCACHED

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel

TOKENS = 333
"""Followed by whole tiles of padding."""

Break = Callable[[pytest.MonkeyPatch], None]
CACHES = (ContiguousKVCache, PagedKVCache)


def no_causal_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row sees all rows."""
    _attend_with(monkeypatch, lambda rows: torch.zeros(rows, rows))


def padding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are masked causally, but every row sees the padding."""

    def mask(rows: int) -> torch.Tensor:
        hidden = torch.full((rows, rows), float("-inf")).triu(1)
        hidden[:, TOKENS:] = 0
        return hidden

    _attend_with(monkeypatch, mask)


def another_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """K and V go to the next user's positions."""
    for cache in CACHES:
        _fill_with(monkeypatch, cache, lambda chunk: replace(chunk, slots=by_chip(chunk.slots, _next_user)))


def padding_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of padding are written to the cache, too."""
    monkeypatch.setattr(PrefillChunk, "filled_rows", property(lambda chunk: chunk.rows))


def keys_and_values_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """K is written into the cache of V, and V into that of K."""
    for cache in CACHES:
        fill = cache.fill
        monkeypatch.setattr(cache, "fill", lambda self, key, value, chunk, fill=fill: fill(self, value, key, chunk))


def rotary_off_by_one_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks behind the first are rotated for one position too early."""
    prefill_tables = RotaryEmbedding.prefill_tables

    def shifted(self: RotaryEmbedding, positions: ttnn.Tensor) -> RotaryTables:
        return prefill_tables(self, by_chip(positions, lambda values: values - int(values[0, 0] > 0)))

    monkeypatch.setattr(RotaryEmbedding, "prefill_tables", shifted)


def chunk_start_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk's queries stand at the start of the text for attention."""
    for cache in CACHES:
        attend = cache.attend_prefill

        def from_start(self: Any, query: Any, chunk: PrefillChunk, *, scale: float, attend: Any = attend) -> Any:
            return attend(self, query, replace(chunk, start=0), scale=scale)

        monkeypatch.setattr(cache, "attend_prefill", from_start)


def chunk_written_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """K and V of every chunk go to the first positions."""
    for cache in CACHES:
        _fill_with(monkeypatch, cache, lambda chunk: replace(chunk, start=0))


AT_ONCE: tuple[Break, ...] = (
    no_causal_mask,
    padding_is_seen,
    another_users_cache,
    padding_in_the_cache,
    keys_and_values_exchanged,
)
IN_CHUNKS: tuple[Break, ...] = (rotary_off_by_one_in_a_chunk, chunk_start_ignored, chunk_written_at_the_start)


@pytest.fixture(params=["contiguous", "paged"])
def rungs(
    request: pytest.FixtureRequest,
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    parallelism: Parallelism,
    as_prefill: Compare,
) -> dict[str, Callable[[], None]]:
    """The rungs that the faults are meant for."""
    case = {
        "model": model,
        "layer": "first",
        "cache": request.param,
        "mesh_device": mesh_device,
        "precision": DEFAULT_PRECISION,
        "weight_cache": UNCACHED,
        "parallelism": parallelism,
        "compare": as_prefill,
    }
    return {
        "at once": partial(attention.test_prefill_attention, tokens=TOKENS, **case),
        "in chunks": partial(attention.test_prefill_attention_in_chunks, **case),
    }


@pytest.mark.parametrize("fault", [*AT_ONCE, *IN_CHUNKS], ids=lambda fault: fault.__name__)
def test_a_fault_turns_attention_red(
    rungs: dict[str, Callable[[], None]], fault: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"PCC -?\d\.\d+ < 0\.999|no other (key|value) changes"):
        rungs["at once" if fault in AT_ONCE else "in chunks"]()


def test_without_a_fault_attention_is_green(
    rungs: dict[str, Callable[[], None]], parallelism: Parallelism, request: pytest.FixtureRequest
) -> None:
    instances = parallelism.data
    assert len(compared_by(request, rungs["at once"])) == 3 * instances + 2
    assert len(compared_by(request, rungs["in chunks"])) == 6 * instances + 2


def test_a_padding_row_for_the_last_token_turns_the_stack_red(
    model: BringupModel, causal_lm: CausalLM, as_prefill: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_logits = CausalLM.last_logits

    def behind(self: CausalLM, hidden: ttnn.Tensor, chunk: PrefillChunk) -> ttnn.Tensor:
        return last_logits(self, hidden, replace(chunk, last_rows=by_chip(chunk.last_rows, lambda rows: rows + 1)))

    monkeypatch.setattr(CausalLM, "last_logits", behind)
    with pytest.raises(AssertionError, match=r"PCC -?\d\.\d+ < 0\.999 +prefill_stack: the last token's logits"):
        layers.test_prefill_stack(model, 200, "contiguous", causal_lm, as_prefill, lambda _: None)


@pytest.mark.parametrize("fault", [another_users_cache, no_causal_mask], ids=lambda fault: fault.__name__)
def test_a_fault_turns_the_text_red(
    model: BringupModel,
    prefilling: Generator,
    compare: Compare,
    fault: Break,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=r"of the (users|tokens) |every user "):
        both.test_prefill_then_decode(model, prefilling, compare, lambda _: None)


class _Host:
    """A step that reads a tensor to the host and writes one, besides what it has to do."""

    def __init__(self, users: Any) -> None:
        self._users = users
        self.state = users.state

    def start(self) -> None:
        self._users.start()

    def step(self) -> None:
        """A greedy step and its tokens written anew."""
        self._users.step()
        self.state.write_tokens(self.state.read_tokens())


def test_a_transfer_turns_the_step_red(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: Any = _Host(performance.Users(model, causal_lm))
    with pytest.raises(AssertionError, match="a step moves nothing between host and device"):
        performance.test_performance_moves_nothing_but_tokens(users, compare, monkeypatch)


def test_other_tokens_turn_the_trace_red(compare: Compare) -> None:
    eager = [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(AssertionError, match=r"not steps \[2\]"):
        performance.check_equal(compare, "replayed", [[1, 2], [3, 4], [5, 7]], eager)


def _next_user(slots: torch.Tensor) -> torch.Tensor:
    return (slots + 1) % DECODE_BATCH


def _attend_with(monkeypatch: pytest.MonkeyPatch, mask: Callable[[int], torch.Tensor]) -> None:
    """Attention with a mask [S, S] that is added to the scores, in place of the causal one."""

    def attend(self: Attention, query: ttnn.Tensor, key: ttnn.Tensor, value: ttnn.Tensor) -> ttnn.Tensor:
        given = ttnn.from_torch(
            mask(query.shape[2])[None, None], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=query.device()
        )
        return ttnn.transformer.scaled_dot_product_attention(
            query, key, value, attn_mask=given, is_causal=False, scale=self.scale
        )

    monkeypatch.setattr(Attention, "_attend_to_itself", attend)


def _fill_with(
    monkeypatch: pytest.MonkeyPatch, cache: type[Any], change: Callable[[PrefillChunk], PrefillChunk]
) -> None:
    fill = cache.fill
    monkeypatch.setattr(cache, "fill", lambda self, key, value, chunk: fill(self, key, value, change(chunk)))
