"""Decode with two command queues: queue 0 computes while queue 1 moves tokens and logits.

Only events order the queues. A buffer that one queue writes and the other reads is not used by either before the
other's last use of it is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import ttnn

from .config import DECODE_BATCH
from .decode_state import DecodeState
from .kv_cache import KVCache
from .model import CausalLM
from .parallelism import Parallelism
from .traced_step import TracedStep

COMPUTE, TRANSFER = 0, 1
"""The queues."""


class GreedyPipeline:
    """Greedy steps whose tokens are read while the next step computes.

    Args:
        model: the model, on a device with two command queues.
        state: the users; at what tokens and positions is written before each run.
        kv_caches: of all layers.
    """

    def __init__(self, model: CausalLM, state: DecodeState, kv_caches: Sequence[KVCache]) -> None:
        self.state = state
        # Before the capture, or its replays might overwrite them.
        self._outboxes = [_Outbox(ttnn.clone(state.tokens), model.parallelism, users_dim=0) for _ in range(2)]
        self._step = TracedStep.greedy(model, state, kv_caches)

    def tokens(self, steps: int) -> Iterator[list[int]]:
        """The tokens [B] after each of so many steps; while one is given the next computes."""
        for number in range(steps):
            self._step()
            self._outboxes[number % 2].send(self.state.tokens)
            if number:
                yield self._taken(number - 1)
        if steps:
            yield self._taken(steps - 1)

    def release(self) -> None:
        """Forget the trace."""
        self._step.release()

    def _taken(self, number: int) -> list[int]:
        return [int(token) for token in self._outboxes[number % 2].take().flatten()]


class ForcedPipeline:
    """Steps with given tokens, which are written, and whose logits are read, while another step computes.

    Args:
        model: the model, on a device with two command queues.
        state: the users; at what positions is written before each run.
        kv_caches: of all layers.
    """

    def __init__(self, model: CausalLM, state: DecodeState, kv_caches: Sequence[KVCache]) -> None:
        self.state = state
        self.mesh_device = model.mesh_device
        logits = ttnn.zeros(
            (1, 1, DECODE_BATCH, model.config.vocab_size),
            dtype=model.precision.logits,
            layout=ttnn.TILE_LAYOUT,
            device=model.mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
        )
        # Before the capture, or its replays might overwrite them.
        self._inbox = ttnn.clone(state.tokens)
        self._outboxes = [_Outbox(buffer, model.parallelism, users_dim=2) for buffer in (logits, ttnn.clone(logits))]
        self._step = TracedStep.forced(model, state, kv_caches)

    def logits(self, tokens: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """The logits [B, V] after each of the steps, whose tokens [B] are given."""
        if not tokens:
            return
        written = self._write(tokens[0], after=ttnn.record_event(self.mesh_device, COMPUTE))
        for number, following in enumerate([*tokens[1:], None]):
            ttnn.wait_for_event(COMPUTE, written)
            ttnn.copy(self._inbox, self.state.tokens)
            taken = ttnn.record_event(self.mesh_device, COMPUTE)
            logits = self._step()
            if following is not None:
                # Before the read of these logits, behind which queue 1 would not write until this step is over.
                written = self._write(following, after=taken)
            self._outboxes[number % 2].send(logits)
            if number:
                yield self._outboxes[(number - 1) % 2].take()[0, 0]
        yield self._outboxes[(len(tokens) - 1) % 2].take()[0, 0]

    def release(self) -> None:
        """Forget the trace."""
        self._step.release()

    def _write(self, tokens: Sequence[int], *, after: ttnn.MeshEvent) -> ttnn.MeshEvent:
        """Have queue 1 write a step's tokens [B] once queue 0 is past `after`; returns when they are there."""
        ttnn.wait_for_event(TRANSFER, after)
        ttnn.copy_host_to_device_tensor(self.state.tokens_on_host(tokens), self._inbox, cq_id=TRANSFER)
        return ttnn.record_event(self.mesh_device, TRANSFER)


class _Outbox:
    """A buffer where queue 0 leaves what queue 1 reads, so that the next step may overwrite the source."""

    def __init__(self, buffer: ttnn.Tensor, parallelism: Parallelism, *, users_dim: int) -> None:
        self._buffer = buffer
        self._parallelism = parallelism
        self._users_dim = users_dim
        self._read: ttnn.MeshEvent | None = None
        self._host: ttnn.Tensor | None = None

    def send(self, source: ttnn.Tensor) -> None:
        """Copy `source` aside on queue 0, and start to read it on queue 1."""
        mesh_device = self._buffer.device()
        if self._read is not None:
            ttnn.wait_for_event(COMPUTE, self._read)
        ttnn.copy(source, self._buffer)
        ttnn.wait_for_event(TRANSFER, ttnn.record_event(mesh_device, COMPUTE))
        self._host = self._buffer.cpu(blocking=False, cq_id=TRANSFER)
        self._read = ttnn.record_event(mesh_device, TRANSFER)

    def take(self) -> torch.Tensor:
        """What was sent, once it is here."""
        ttnn.event_synchronize(self._read)
        return self._parallelism.take(self._host, data=self._users_dim)
