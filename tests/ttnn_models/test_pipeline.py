"""The order of the two command queues: what the emulated target, which computes in the host's order, would not show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ttnn_models import pipeline
from ttnn_models.pipeline import COMPUTE, TRANSFER, ForcedPipeline


class Queues:
    """Stands for `ttnn`: notes what each queue is told to do, and what an event has behind it."""

    def __init__(self) -> None:
        self.told: dict[int, list[str]] = {COMPUTE: [], TRANSFER: []}
        self.over: dict[int, set[str]] = {COMPUTE: set(), TRANSFER: set()}  # what a queue has waited for

    def do(self, queue: int, what: str) -> None:
        self.told[queue].append(what)
        self.over[queue].add(what)

    def record_event(self, _: Any, queue: int) -> set[str]:
        return set(self.over[queue])

    def wait_for_event(self, queue: int, event: set[str]) -> None:
        self.over[queue] |= event

    def copy_host_to_device_tensor(self, *_: Any, cq_id: int) -> None:
        number = len(self.told[cq_id])
        if number:
            assert f"token copy {number - 1}" in self.over[cq_id], f"tokens {number} may overwrite those before, unread"
        self.do(cq_id, f"token write {number}")

    def copy(self, *_: Any) -> None:
        number = len(self.told[COMPUTE])
        assert f"token write {number}" in self.over[COMPUTE], f"step {number} may read the tokens of the step before"
        self.do(COMPUTE, f"token copy {number}")


def test_given_tokens_are_written_once_those_before_were_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues()
    monkeypatch.setattr(pipeline, "ttnn", queues)
    outbox = SimpleNamespace(send=lambda _: None, take=lambda: torch.zeros(1, 1, 1))
    forced: Any = ForcedPipeline.__new__(ForcedPipeline)
    forced.mesh_device, forced._inbox, forced._outboxes = None, None, [outbox, outbox]
    forced.state = SimpleNamespace(tokens_on_host=lambda given: given, tokens=None)
    forced._step = lambda: None
    assert len(list(forced.logits([[1], [2], [3]]))) == 3
    assert queues.told[COMPUTE] == ["token copy 0", "token copy 1", "token copy 2"]
