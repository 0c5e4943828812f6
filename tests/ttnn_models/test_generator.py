"""The generator's bookkeeping, with a model that counts: the token after t is t + 1."""

from __future__ import annotations

from typing import Any

import pytest
from ttnn_models.generator import Generation, Generator

from pytest_ttbringup.errors import BringupError

from .counting_model import VOCABULARY, CountingModel


@pytest.fixture
def model(mesh_device: Any) -> CountingModel:
    return CountingModel(mesh_device)


def test_users_read_their_prompts_and_then_write(model: CountingModel) -> None:
    generator = Generator(model)  # type: ignore[arg-type]
    short, long, stopped = generator.generate([[10], [20, 5, 60], [30, 31]], max_new_tokens=3, stop_tokens={33})
    assert short == Generation((11, 12, 13), "length")
    assert long == Generation((61, 62, 63), "length")
    assert stopped == Generation((32, 33), "stop")
    assert model.of_user(0) == [(10, 0), (11, 1), (12, 2)]
    assert model.of_user(1) == [(20, 0), (5, 1), (60, 2), (61, 3), (62, 4)]
    assert model.of_user(2) == [(30, 0), (31, 1), (32, 2)]
    assert model.of_user(3) == []


def test_a_stop_token_in_the_prompt_stops_nobody(model: CountingModel) -> None:
    [user] = Generator(model).generate([[33, 33, 40]], max_new_tokens=2, stop_tokens={33})  # type: ignore[arg-type]
    assert user == Generation((41, 42), "length")


def test_a_second_text_starts_at_the_first_position(model: CountingModel) -> None:
    generator = Generator(model)  # type: ignore[arg-type]
    generator.generate([[1, 2, 3]], max_new_tokens=2)
    model.seen.clear()
    generator.generate([[50]], max_new_tokens=1)
    assert model.of_user(0) == [(50, 0)]


def test_teacher_forcing_feeds_the_text_whatever_is_predicted(model: CountingModel) -> None:
    texts = [[9, 3, 77], [4]]
    lines: list[str] = []
    logits = Generator(model, report_every=2).forced_logits(texts, report=lines.append)  # type: ignore[arg-type]
    assert lines == ["step 2 of 3"]
    assert [user.shape for user in logits] == [(3, VOCABULARY), (1, VOCABULARY)]
    assert [user.argmax(-1).tolist() for user in logits] == [[10, 4, 78], [5]]
    assert model.of_user(0) == [(9, 0), (3, 1), (77, 2)]
    assert model.of_user(1) == [(4, 0)]


def test_progress_is_reported(model: CountingModel) -> None:
    lines: list[str] = []
    Generator(model, report_every=2).generate([[1, 2, 3], [7]], max_new_tokens=2, report=lines.append)  # type: ignore[arg-type]
    assert lines == ["step 2: 1 users reading, 0 writing, 1 done", "step 4: 0 users reading, 0 writing, 2 done"]


@pytest.mark.parametrize(
    ("prompts", "new", "message"),
    [
        ([], 1, r"0 texts given; a batch has 1 to 32 users"),
        ([[1]] * 33, 1, r"33 texts given"),
        ([[1], []], 1, r"The text of user 1 has no token"),
        ([[1] * 30], 4, r"needs 33 positions; the KV cache holds max_seq_len = 32"),
        ([[1]], 0, r"max_new_tokens = 0 must be at least 1"),
        ([[1], [128]], 1, r"The text of user 1 has the token 128; the vocabulary has 0 to 127. Encode it"),
        ([[-1]], 1, r"The text of user 0 has the token -1"),
    ],
    ids=["none", "many", "empty", "long", "nothing new", "stray", "negative"],
)
def test_what_can_not_be_generated(model: CountingModel, prompts: list[list[int]], new: int, message: str) -> None:
    with pytest.raises(BringupError, match=message):
        Generator(model).generate(prompts, max_new_tokens=new)  # type: ignore[arg-type]


def test_tokens_are_told_as_they_come(model: CountingModel) -> None:
    told: list[tuple[int, int]] = []
    ended: list[int] = []
    written = Generator(model).generate(  # type: ignore[arg-type]
        [[10], [20, 21, 22]],
        max_new_tokens=3,
        stop_tokens={12},
        on_token=lambda user, token: told.append((user, token)),
        on_end=ended.append,
    )
    assert told == [(0, 11), (0, 12), (1, 23), (1, 24), (1, 25)]
    assert ended == [0, 1]
    for user, generation in enumerate(written):
        assert [token for teller, token in told if teller == user] == list(generation.tokens)


def test_a_text_may_fill_the_cache(model: CountingModel) -> None:
    [user] = Generator(model).generate([[1] * 30], max_new_tokens=3)  # type: ignore[arg-type]
    assert user.tokens == (2, 3, 4)


@pytest.mark.parametrize("prefilled", [[2], [4, 1], [-1, 1]], ids=str)
def test_what_can_not_be_prefilled(model: CountingModel, prefilled: list[int]) -> None:
    with pytest.raises(
        BringupError, match=r"are to be prefilled of texts with \[3, 1\] tokens; give a number for each"
    ):
        Generator(model).forced_logits([[1, 2, 3], [4]], prefilled=prefilled)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1]] * 33, r"33 texts given; a batch has 1 to 32 users"),
        ([[1], []], r"The text of user 1 has no token"),
        ([[1] * 33], r"needs 33 positions; the KV cache holds max_seq_len = 32"),
    ],
    ids=["many", "empty", "long"],
)
def test_prefill_refuses_the_same_prompts(model: CountingModel, prompts: list[list[int]], message: str) -> None:
    generator = Generator(model, prefill=True)  # type: ignore[arg-type]
    with pytest.raises(BringupError, match=message):
        generator.generate(prompts, max_new_tokens=1)
    assert model.seen == []
