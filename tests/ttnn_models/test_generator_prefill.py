"""The generator's bookkeeping with prefilled prompts, with a model that counts: the token after t is t + 1."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import ttnn
from ttnn_models.generator import Generation, Generator
from ttnn_models.parallelism import SINGLE
from ttnn_models.prefill_chunk import PrefillChunk

from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig

from .counting_model import VOCABULARY, CountingModel, UnsureModel


class PrefilledModel(CountingModel):
    """Notes which tokens of which user were prefilled, too."""

    def __init__(self, mesh_device: Any) -> None:
        super().__init__(mesh_device)
        self.config = SimpleNamespace(max_seq_len=128, vocab_size=VOCABULARY, parallelism=SINGLE)
        self.prefilled: list[tuple[int, int, list[int]]] = []

    def prefill(self, chunk: PrefillChunk, kv_caches: list[Any]) -> Any:  # noqa: ARG002
        tokens = ttnn.to_torch(chunk.tokens).flatten()
        self.prefilled.append((chunk.user, chunk.start, tokens[: chunk.lengths[0]].tolist()))
        return self.logits_behind(tokens)

    def last_logits(self, hidden: Any, chunk: PrefillChunk) -> Any:
        rows = ttnn.to_torch(hidden)[:, :, ttnn.to_torch(chunk.last_rows).flatten().long()]
        return ttnn.from_torch(rows, layout=ttnn.TILE_LAYOUT, device=self.mesh_device)

    def all_logits(self, hidden: Any) -> Any:
        return ttnn.clone(hidden)


class UnsurePrefilledModel(UnsureModel, PrefilledModel):
    """Finds every token possible, behind a prefill, too."""


@pytest.fixture
def model(mesh_device: Any) -> PrefilledModel:
    return PrefilledModel(mesh_device)


LONG = list(range(2, 72))
"""70 tokens: two chunks of 32 and a short one."""


def test_a_long_prompt_is_continued_behind_its_last_chunk(model: PrefilledModel) -> None:
    generator = Generator(model, prefill=True, prefill_chunk=32)  # type: ignore[arg-type]
    short, long = generator.generate([[10, 40], LONG], max_new_tokens=3)
    assert model.prefilled == [(0, 0, [10, 40]), (1, 0, LONG[:32]), (1, 32, LONG[32:64]), (1, 64, LONG[64:])]
    assert short == Generation((41, 42, 43), "length")
    assert long == Generation((72, 73, 74), "length")
    assert model.of_user(0) == [(41, 2), (42, 3)]
    assert model.of_user(1) == [(72, 70), (73, 71)]
    assert model.of_user(2) == []


def test_a_prompt_that_fills_its_last_chunk_is_continued_behind_it(model: PrefilledModel) -> None:
    generator = Generator(model, prefill=True, prefill_chunk=32)  # type: ignore[arg-type]
    prompts = [LONG[:length] for length in (31, 32, 33, 64)]
    written = generator.generate(prompts, max_new_tokens=2)
    assert [user.tokens for user in written] == [(33, 34), (34, 35), (35, 36), (66, 67)]
    assert [(user, start, len(tokens)) for user, start, tokens in model.prefilled] == [
        (0, 0, 31),
        (1, 0, 32),
        (2, 0, 32),
        (2, 32, 1),
        (3, 0, 32),
        (3, 32, 32),
    ]


def test_a_stop_token_behind_the_prompt_ends_a_text_before_any_step(model: PrefilledModel) -> None:
    generator = Generator(model, prefill=True)  # type: ignore[arg-type]
    stopped, other = generator.generate([[4], [30]], max_new_tokens=2, stop_tokens={5})
    assert stopped == Generation((5,), "stop")
    assert other == Generation((31, 32), "length")
    assert model.of_user(0) == []
    assert model.of_user(1) == [(31, 1)]


@pytest.mark.parametrize(
    "sampling",
    [GREEDY, SamplingConfig(0.3, top_k=20, top_p=0.9), SamplingConfig(0.3, top_p=0.9)],
    ids=["greedy", "device", "host"],
)
def test_a_seed_gives_one_text_however_the_prompt_is_read(mesh_device: Any, sampling: SamplingConfig) -> None:
    """By steps or by prefill: who reads draws nothing, and the first token is drawn like the others."""
    model = UnsurePrefilledModel(mesh_device)
    prompts = [list(range(10 * user + 1, 11 * user + 2)) for user in range(10)]  # of 1 to 10 tokens
    samplings = [sampling if sampling.greedy else replace(sampling, seed=user) for user in range(10)]
    by_steps, by_prefill = (
        Generator(model, prefill=prefill).generate(prompts, max_new_tokens=4, sampling=samplings)  # type: ignore[arg-type]
        for prefill in (False, True)
    )
    assert by_prefill == by_steps


def test_teacher_forcing_decodes_what_is_not_prefilled(model: PrefilledModel) -> None:
    generator = Generator(model, prefill_chunk=32)  # type: ignore[arg-type]
    texts = [[9, 3, 77], [4], LONG]
    logits = generator.forced_logits(texts, prefilled=[1, 0, 40])
    assert [user.argmax(-1).tolist() for user in logits] == [[token + 1 for token in text] for text in texts]
    assert model.prefilled == [(0, 0, [9]), (2, 0, LONG[:32]), (2, 32, LONG[32:40])]
    assert model.of_user(0) == [(3, 1), (77, 2)]
    assert model.of_user(1) == [(4, 0)]
    assert model.of_user(2) == [(token, position) for position, token in enumerate(LONG) if position >= 40]
