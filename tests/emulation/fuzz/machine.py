"""The device, the pool of tensors on it, and what has been refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from model import Cell, Entry, Trace, perform

from pytest_ttbringup.targets.emulated import EmulatedTarget

Action = Callable[["Machine"], None]


class Machine:
    """A device, tensors on it with the model of each, and the traces and events made so far."""

    def __init__(self, target: EmulatedTarget, seed: int, chips: int) -> None:
        self.target = target
        self.chips = chips
        self.random = random.Random(seed)
        self.pool: list[Entry] = []
        self.traces: list[Trace] = []
        self.events: list[Any] = []
        self.closed: list[Any] = []
        self.capture: Trace | None = None
        self.generation = 0
        self.refusals = 0
        self.checked = 0
        self.mesh: Any = None
        self.open()

    def open(self) -> None:
        self.generation += 1
        self.mesh = self.target.open_mesh(
            1, self.chips, fabric_config=self.chips > 1, trace_region_size=1 << 19, num_command_queues=2
        )

    def reopen(self) -> None:
        self.closed = [self.mesh]
        self.target.close_mesh(self.mesh)
        self.capture, self.traces = None, []
        del self.pool[:-3]  # some tensors of the closed device stay, to be misused
        self.open()

    def step(self, action: Action) -> None:
        """Do one action, which may be refused."""
        try:
            action(self)
        except (RuntimeError, TypeError, ValueError) as error:
            self.note(error)
        while len(self.pool) > 30 or sum(not self.alive(entry) for entry in self.pool) > 5:
            self.drop()

    # Tensors.

    def pick(self) -> Entry:
        return self.random.choice(self.pool)

    def add(self, tensor: Any, values: Any) -> None:
        self.pool.append(Entry(tensor, Cell(values), self.generation))

    def drop(self) -> None:
        """Let a Python object die, without a word to the device."""
        dead = [entry for entry in self.pool if not self.alive(entry)]
        if len(dead) > 5:  # some are kept, to be misused
            self.pool.remove(dead[0])
        elif len(self.pool) > 3:
            self.pool.pop(self.random.randrange(len(self.pool)))

    def alive(self, entry: Entry) -> bool:
        return entry.generation == self.generation and entry.allocated

    def held(self, cell: Cell) -> bool:
        return any(entry.cell is cell and self.alive(entry) for entry in self.pool)

    def host(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """A tensor on the host of random values, another part for each chip, and these values."""
        import torch
        import ttnn

        generator = torch.Generator().manual_seed(self.random.randrange(1 << 30))
        values = torch.randint(-4, 5, (self.chips, *shape), generator=generator).float()
        mapper = ttnn.ShardTensorToMesh(self.mesh, dim=0) if self.chips > 1 else None
        stacked = values.flatten(0, 1)
        return ttnn.from_torch(stacked, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, mesh_mapper=mapper), values

    def queue(self) -> int:
        """The command queue of a call: mostly the first, now and then one that does not exist."""
        return 0 if self.capture else self.random.choice((0, 0, 0, 0, 0, 0, 0, 1, 7))

    # Steps of the model, and refusals.

    def run(self, reads: list[Cell], write: Cell, step: Callable[[], None]) -> None:
        """Do to the model what an operation does to the device: at once, or in every replay."""
        if self.capture:
            self.capture.steps.append(step)
            self.capture.cells.append((reads, write))
        else:
            perform(step, reads, write)

    @contextmanager
    def failing(self, *entries: Entry) -> Iterator[None]:
        """An operation that fails in a capture makes the trace unfit, if it is one of this device's at all."""
        ours = any(self.alive(entry) for entry in entries)
        try:
            yield
        except BaseException:
            if self.capture and ours:
                self.capture.sound = False
            raise

    def note(self, error: Exception) -> None:
        """Count a refusal; those of the capture itself make its trace unfit for replay."""
        self.refusals += 1
        if self.capture and "in the capture of trace" in str(error):
            self.capture.sound = False

    def refuse_expected(self, call: Callable[[], Any], why: str) -> None:
        """A call that must be refused."""
        try:
            call()
        except (RuntimeError, TypeError, ValueError) as error:
            self.note(error)
            return
        raise AssertionError(f"{why} was not refused")
