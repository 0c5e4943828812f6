"""The order of the two command queues: each wait that it takes, and no other, so that they do work side by side."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import ttnn
from ttnn_models import pipeline
from ttnn_models.decode_state import DecodeState
from ttnn_models.parallelism import SINGLE
from ttnn_models.pipeline import COMPUTE, TRANSFER, ForcedPipeline

from pytest_ttbringup.emulation import EmulationError

VOCABULARY = 64
GIVEN = [[5], [9], [2], [7]]
WAITS = ["first", *("written", "taken", "sent") * 2, "written", "taken", "read", "sent", "written", "read", "sent"]
"""What each wait of four steps is for: `taken` are the tokens before, `written` those of the step, `sent` its logits,
and `read` those of two steps before. The host has waited for what is `first`, and for what is `read`, by itself.
"""


@pytest.fixture
def forced(mesh_device: ttnn.MeshDevice) -> Iterator[ForcedPipeline]:
    """Of a model whose logits are row t of a table, for token t."""
    table = ttnn.from_torch(torch.eye(VOCABULARY), dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT)
    table = ttnn.to_device(table, mesh_device)
    model: Any = SimpleNamespace(
        mesh_device=mesh_device,
        config=SimpleNamespace(vocab_size=VOCABULARY),
        parallelism=SINGLE,
        precision=SimpleNamespace(logits=ttnn.bfloat16),
        decode_forced=lambda state, _: ttnn.unsqueeze_to_4D(
            ttnn.embedding(state.tokens, table, layout=ttnn.TILE_LAYOUT)
        ),
    )
    made = ForcedPipeline(model, DecodeState(mesh_device), [])
    ttnn.synchronize_device(mesh_device)
    yield made
    made.release()


def without(monkeypatch: pytest.MonkeyPatch, what: str | None) -> list[str]:
    """Have `ttnn.wait_for_event` do nothing where it is for `what`; returns what it was called for."""
    called: list[str] = []
    original = ttnn.wait_for_event

    def wait_for_event(queue: int, event: Any) -> None:
        called.append(WAITS[len(called)])
        if called[-1] != what:
            original(queue, event)

    monkeypatch.setattr(ttnn, "wait_for_event", wait_for_event)
    return called


two_queues = pytest.mark.parametrize(
    "device_params", [pytest.param({"trace_region_size": 1 << 20, "num_command_queues": 2}, id="")], indirect=True
)


@two_queues
@pytest.mark.parametrize("what", [None, "first", "read"])
def test_nothing_races(forced: ForcedPipeline, monkeypatch: pytest.MonkeyPatch, what: str | None) -> None:
    called = without(monkeypatch, what)
    logits = list(forced.logits(GIVEN))
    assert called == WAITS
    assert [int(step[0].argmax()) for step in logits] == [token for (token,) in GIVEN]


@two_queues
@pytest.mark.parametrize(
    ("what", "race"),
    [
        ("taken", r"copy_host_to_device_tensor on queue 1 writes the .* that ttnn.copy on queue 0 reads"),
        ("written", r"ttnn.copy on queue 0 reads the .* that ttnn.copy_host_to_device_tensor on queue 1 wrote"),
        ("sent", r"ttnn.from_device on queue 1 reads the .* that ttnn.copy on queue 0 wrote"),
    ],
)
def test_a_wait_left_out_is_a_race(
    forced: ForcedPipeline, monkeypatch: pytest.MonkeyPatch, what: str, race: str
) -> None:
    without(monkeypatch, what)
    with pytest.raises(EmulationError, match=race):
        list(forced.logits(GIVEN))


class Queues:
    """Stands for `ttnn`: notes what each queue is told to do, and what it has waited for."""

    def __init__(self) -> None:
        self.over: dict[int, set[str]] = {COMPUTE: set(), TRANSFER: set()}
        self.writes = 0

    def record_event(self, _: Any, queue: int) -> set[str]:
        return set(self.over[queue])

    def wait_for_event(self, queue: int, event: set[str]) -> None:
        self.over[queue] |= event

    def copy_host_to_device_tensor(self, *_: Any, cq_id: int) -> None:
        waited_for = [it for it in self.over[cq_id] if it in (f"step {self.writes - 1}", f"logits {self.writes - 1}")]
        assert not waited_for, f"tokens {self.writes} are not written before these are over: {waited_for}"
        self.over[cq_id].add(f"tokens {self.writes}")
        self.writes += 1

    def copy(self, *_: Any) -> None:
        """On queue 0, before the step."""


def test_tokens_are_written_while_the_step_before_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated target, which computes in the host's order, would not show that a queue waits for too much."""
    queues = Queues()
    monkeypatch.setattr(pipeline, "ttnn", queues)
    steps: list[str] = []

    def step() -> str:
        assert f"tokens {len(steps)}" in queues.over[COMPUTE]
        assert f"logits {len(steps) - 1}" not in queues.over[COMPUTE], "a step waits until those before were read"
        steps.append(f"step {len(steps)}")
        queues.over[COMPUTE].add(steps[-1])
        return steps[-1]

    def send(_: str) -> None:
        queues.wait_for_event(TRANSFER, queues.record_event(None, COMPUTE))
        queues.over[TRANSFER].add(f"logits {len(steps) - 1}")

    outbox = SimpleNamespace(send=send, take=lambda: torch.zeros(1, 1, 1))
    forced: Any = ForcedPipeline.__new__(ForcedPipeline)
    forced.mesh_device, forced._inbox, forced._outboxes, forced._step = None, None, [outbox, outbox], step
    forced.state = SimpleNamespace(tokens_on_host=lambda given: given, tokens=None)
    assert len(list(forced.logits([[1], [2], [3]]))) == queues.writes == len(steps) == 3
