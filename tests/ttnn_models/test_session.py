"""Users who join and leave between steps, with a model that counts: the token after t is t + 1."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ttnn_models.config import DECODE_BATCH
from ttnn_models.generator import Generator
from ttnn_models.session import Session

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig

from .counting_model import CountingModel, UnsureModel

DEVICE = SamplingConfig(1.0, top_k=20, top_p=0.9, seed=5)
HOST = SamplingConfig(1.0, top_p=0.9, seed=5)
PATHS = pytest.mark.parametrize("sampling", [DEVICE, HOST], ids=["device", "host"])


@pytest.fixture
def model(mesh_device: Any) -> CountingModel:
    return CountingModel(mesh_device)


@pytest.fixture
def generator(model: CountingModel) -> Generator:
    return Generator(model)  # type: ignore[arg-type]


@pytest.fixture
def unsure(mesh_device: Any) -> Generator:
    return Generator(UnsureModel(mesh_device))  # type: ignore[arg-type]


def finish(session: Session) -> None:
    while session.users:
        session.step()


def test_a_user_joins_while_another_writes(generator: Generator, model: CountingModel) -> None:
    session = generator.session()
    first = session.add([10], max_new_tokens=4)
    session.step()
    second = session.add([50, 60], max_new_tokens=2)
    finish(session)
    assert (first.tokens, second.tokens) == ([11, 12, 13, 14], [61, 62])
    assert (first.ended_by, second.ended_by) == ("length", "length")
    assert model.of_user(1) == [(50, 0), (60, 1), (61, 2)]


def test_a_slot_is_taken_again_from_its_first_position(generator: Generator, model: CountingModel) -> None:
    session = generator.session(stop_tokens={12})
    first = session.add([10], max_new_tokens=9)
    other = session.add([70], max_new_tokens=5)
    session.step()
    session.step()
    assert first.ended_by == "stop"
    third = session.add([30], max_new_tokens=2)
    assert third.slot == first.slot == 0
    finish(session)
    assert (third.tokens, other.tokens) == ([31, 32], [71, 72, 73, 74, 75])
    assert model.of_user(0) == [(10, 0), (11, 1), (30, 0), (31, 1)]
    assert third.number == 2, "a user's number is not a slot"


def test_a_user_leaves(generator: Generator, model: CountingModel) -> None:
    session = generator.session()
    stays, leaves = session.add([10], max_new_tokens=3), session.add([50], max_new_tokens=3)
    session.step()
    session.leave(leaves)
    finish(session)
    assert (stays.tokens, leaves.tokens, leaves.ended_by) == ([11, 12, 13], [51], "leave")
    assert model.of_user(1) == [(50, 0)]
    session.leave(stays)
    assert stays.ended_by == "length", "who has ended can't leave"


def test_a_step_tells_what_is_new(generator: Generator) -> None:
    session = generator.session()
    one, two = session.add([10], max_new_tokens=2), session.add([50, 60], max_new_tokens=1)
    assert session.step() == [(one, 11, False)]
    assert session.step() == [(one, 12, True), (two, 61, True)]
    assert session.step() == []


def test_a_full_batch_takes_nobody(generator: Generator) -> None:
    session = generator.session()
    users = [session.add([1], max_new_tokens=2) for _ in range(DECODE_BATCH)]
    with pytest.raises(BringupError, match=r"All 32 slots of the batch are taken\. Make steps until a user has ended"):
        session.add([1], max_new_tokens=2)
    session.leave(users[7])
    assert session.add([1], max_new_tokens=2).slot == 7


@pytest.mark.parametrize(
    ("prompt", "new", "message"),
    [
        ([], 1, "The text of user 0 has no token"),
        ([1] * 33, 1, "The text of user 0 needs 33 positions; the KV cache holds max_seq_len = 32"),
        ([1] * 30, 4, "The text of user 0 needs 33 positions; the KV cache holds max_seq_len = 32"),
        ([1], 0, "max_new_tokens = 0 must be at least 1"),
    ],
    ids=["empty", "long", "long with what is new", "nothing new"],
)
def test_who_can_not_join(generator: Generator, prompt: list[int], new: int, message: str) -> None:
    session = generator.session()
    with pytest.raises(BringupError, match=message):
        session.add(prompt, max_new_tokens=new)
    assert session.users == []


def test_a_newer_session_takes_over(generator: Generator) -> None:
    old = generator.session()
    old.add([1], max_new_tokens=2)
    generator.generate([[5]], max_new_tokens=1)
    with pytest.raises(BringupError, match="The generator has begun another session"):
        old.step()


def test_teacher_forcing_takes_over(generator: Generator) -> None:
    old = generator.session()
    old.add([1], max_new_tokens=2)
    generator.forced_logits([[5]])
    with pytest.raises(BringupError, match="The generator has begun another session"):
        old.step()


@pytest.mark.parametrize("sampling", [GREEDY, DEVICE, HOST], ids=["greedy", "device", "host"])
def test_positions_move_on_whoever_chooses(mesh_device: Any, sampling: SamplingConfig) -> None:
    model = UnsureModel(mesh_device)
    Generator(model).generate([[10, 11]], max_new_tokens=3, sampling=sampling)  # type: ignore[arg-type]
    assert [position for _, position in model.of_user(0)] == [0, 1, 2, 3]


@PATHS
def test_a_seed_gives_one_text(unsure: Generator, sampling: SamplingConfig) -> None:
    """Alone, in a full batch, and at another slot next to greedy users and such as the host and the device draw for."""
    alone = unsure.generate([[10, 11]], max_new_tokens=6, sampling=sampling)[0].tokens
    batch = unsure.generate([[10, 11]] * DECODE_BATCH, max_new_tokens=6, sampling=sampling)
    assert {user.tokens for user in batch} == {alone}
    others = [GREEDY, DEVICE, HOST, SamplingConfig(2.0), GREEDY]
    mixed = unsure.generate([[3]] * 5 + [[10, 11]], max_new_tokens=6, sampling=[*others, sampling])
    assert mixed[5].tokens == alone
    assert mixed[0] == mixed[4] == unsure.generate([[3]], max_new_tokens=6)[0]
    another = unsure.generate([[10, 11]], max_new_tokens=6, sampling=SamplingConfig(1.0, sampling.top_k, 0.9, 6))
    assert another[0].tokens != alone


@PATHS
def test_who_joins_later_gets_the_same_text(unsure: Generator, sampling: SamplingConfig) -> None:
    alone = unsure.generate([[10, 11]], max_new_tokens=6, sampling=sampling)[0].tokens
    session = unsure.session()
    for slot in range(3):
        session.add([slot + 1], max_new_tokens=8, sampling=DEVICE if slot == 1 else GREEDY)
    session.step()
    late = session.add([10, 11], max_new_tokens=6, sampling=sampling)
    finish(session)
    assert late.slot == 3
    assert tuple(late.tokens) == alone


@PATHS
def test_without_a_seed_texts_differ(unsure: Generator, sampling: SamplingConfig) -> None:
    unseeded = SamplingConfig(sampling.temperature, sampling.top_k, sampling.top_p)
    batch = unsure.generate([[10]] * DECODE_BATCH, max_new_tokens=4, sampling=unseeded)
    assert Counter(user.tokens for user in batch).most_common(1)[0][1] < DECODE_BATCH / 2
