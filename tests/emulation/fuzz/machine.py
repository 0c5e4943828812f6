"""Random sequences of TT-NN calls, legal and not, against a model in plain torch.

Run as a program in a process of its own, since it must be able to survive a crash:

    python machine.py CACHE_DIR SEED SECONDS CHIPS

It prints a line for each hundred steps and, when it ends well, `done STEPS REFUSALS`. Whatever is no clean refusal (a
`RuntimeError` or `TypeError`, which TT-NN and the emulated device raise) or is a wrong value ends it with a traceback.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

SHAPES = ((32, 32), (64, 32), (1, 1, 32, 64))


UNKNOWN = object()
"""Values that the model can't tell: a replay took its input from a tensor that came to lie at the same address."""

EXPLAINED = (
    "has overwritten",
    "race between",
    "currently in use",
    "out of range",
    "was closed",
    "has not been executed",
)
"""Why a read of a live tensor may be refused."""


@dataclass(eq=False)
class Cell:
    """What a buffer holds, [chips, *shape]; views share it. None where nothing may be relied on."""

    values: Any


@dataclass(eq=False)
class Entry:
    """A tensor of the pool and the model of it."""

    tensor: Any
    cell: Cell
    generation: int

    @property
    def allocated(self) -> bool:
        return self.tensor.buffer_unique_id() is not None


@dataclass
class Trace:
    """A captured trace: what each operation does to the model."""

    number: Any
    steps: list[Callable[[], None]] = field(default_factory=list)
    cells: list[tuple[list[Cell], Cell]] = field(default_factory=list)
    """For each step the cells it reads and the one it writes."""
    own: set[Cell] = field(default_factory=set)
    sound: bool = True


class Machine:
    """The device, the pool of tensors and what they should hold."""

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

    # The model. `values` of a cell are exact: the numbers are small integers, which bfloat16 holds.

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

    def step(self) -> None:
        self.step_named(self.random.choice(ACTIONS))

    def step_named(self, name: str) -> None:
        try:
            getattr(self, f"do_{name}")()
        except (RuntimeError, TypeError, ValueError) as error:
            self.note(error)
        while len(self.pool) > 30 or sum(not self.alive(entry) for entry in self.pool) > 5:
            self.drop()

    def host(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        import torch
        import ttnn

        generator = torch.Generator().manual_seed(self.random.randrange(1 << 30))
        values = torch.randint(-4, 5, (self.chips, *shape), generator=generator).float()
        mapper = ttnn.ShardTensorToMesh(self.mesh, dim=0) if self.chips > 1 else None
        stacked = values.flatten(0, 1)
        return ttnn.from_torch(stacked, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, mesh_mapper=mapper), values

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

    def alive(self, entry: Entry) -> bool:
        return entry.generation == self.generation and entry.allocated

    def held(self, cell: Cell) -> bool:
        return any(entry.cell is cell and self.alive(entry) for entry in self.pool)

    def run(self, reads: list[Cell], write: Cell, step: Callable[[], None]) -> None:
        """Do to the model what an operation does to the device: at once, or in every replay."""
        if self.capture:
            self.capture.steps.append(step)
            self.capture.cells.append((reads, write))
        else:
            _perform(step, reads, write)

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

    # Actions.

    def queue(self) -> int:
        return 0 if self.capture else self.random.choice((0, 0, 0, 0, 0, 0, 0, 1, 7))

    def do_create(self) -> None:
        import ttnn

        host, values = self.host(self.random.choice(SHAPES))
        config = self.random.choice((ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG))
        if self.capture:
            self.refuse_expected(lambda: ttnn.to_device(host, self.mesh, memory_config=config), "a write in a capture")
            return
        self.add(ttnn.to_device(host, self.mesh, memory_config=config, queue_id=self.queue()), values)

    def do_create_on_closed(self) -> None:
        import ttnn

        if self.closed:
            host, _ = self.host((32, 32))
            self.refuse_expected(lambda: ttnn.to_device(host, self.closed[0]), "a tensor on a closed device")
            self.refuse_expected(lambda: ttnn.begin_trace_capture(self.closed[0]), "a capture on a closed device")
            self.refuse_expected(lambda: ttnn.record_event(self.closed[0], 0), "an event of a closed device")
            self.refuse_expected(lambda: self.closed[0].create_submesh(ttnn.MeshShape(1, 1)), "a submesh")

    def do_read(self) -> None:
        import torch
        import ttnn

        entry = self.pick()
        read = self.random.choice(
            (
                lambda it: it,
                lambda it: it.cpu(cq_id=self.queue()),
                ttnn.from_device,
            )
        )

        def parts() -> Any:
            return torch.stack([ttnn.to_torch(part) for part in ttnn.get_device_tensors(read(entry.tensor))])

        if not self.alive(entry):
            self.refuse_expected(parts, "a read of a dead tensor")
            return
        if self.capture:
            self.refuse_expected(parts, "a read in a capture")
            return
        try:
            values = parts().float()
        except RuntimeError as error:
            if any(reason in str(error) for reason in EXPLAINED):
                raise
            raise AssertionError("a read was refused") from error
        expected = entry.cell.values
        assert expected is not None, "a tensor that holds nothing was read"
        if expected is not UNKNOWN:
            assert torch.equal(values, expected.reshape(values.shape)), "wrong value"
            self.checked += 1

    def do_write(self) -> None:
        import ttnn

        entry = self.pick()
        shape = tuple(entry.tensor.shape) if self.random.random() < 0.9 else (96, 96)
        host, values = self.host(shape)
        ttnn.copy_host_to_device_tensor(host, entry.tensor, cq_id=self.queue())
        assert self.alive(entry), "a write to a dead tensor"
        assert self.capture is None, "a write in a capture"
        entry.cell.values = values

    def operate(self, call: Callable[[], Any], compute: Callable[[], Any], inputs: list[Entry]) -> None:
        """An operation with a new output."""
        with self.failing(*inputs):
            tensor = call()
        assert all(self.alive(entry) for entry in inputs), "an operation on a dead tensor"
        self.add(tensor, None)
        cell = self.pool[-1].cell

        def step() -> None:
            cell.values = compute()

        if self.capture:
            self.capture.own.add(cell)
        self.run([entry.cell for entry in inputs], cell, step)

    def do_binary(self) -> None:
        import ttnn

        a, b = self.pick(), self.pick()
        x, y, queue = a.cell, b.cell, self.queue()
        name = self.random.choice(("add", "subtract", "minimum", "maximum"))
        function = {"add": lambda p, q: p + q, "subtract": lambda p, q: p - q}.get(name)

        def compute() -> Any:
            import torch

            other = y.values.reshape(x.values.shape)  # one may be a view of the other's kind
            return _wrapped((function or getattr(torch, name))(x.values, other))

        def call() -> Any:
            return _wrap(getattr(ttnn, name)(a.tensor, b.tensor, queue_id=queue))

        if a.tensor.shape == b.tensor.shape:
            self.operate(call, compute, [a, b])
        elif len(a.tensor.shape) == len(b.tensor.shape):
            with self.failing(a, b):
                getattr(ttnn, name)(a.tensor, b.tensor)
            raise AssertionError("shapes that don't match were accepted")

    def do_unary(self) -> None:
        import ttnn

        a = self.pick()
        x = a.cell
        name = self.random.choice(("neg", "relu", "abs", "clone"))

        def compute() -> Any:
            import torch

            return x.values.clone() if name == "clone" else getattr(torch, name)(x.values)

        self.operate(lambda: getattr(ttnn, name)(a.tensor, queue_id=self.queue()), compute, [a])

    def do_exchange(self) -> None:
        """Sum over the chips; or gather and cut again, which doubles what each chip holds."""
        import ttnn

        if self.chips == 1:
            return
        a = self.pick()
        x = a.cell
        if self.random.random() < 0.5:
            self.operate(
                lambda: _wrap(ttnn.all_reduce(a.tensor, cluster_axis=1)),
                lambda: _wrapped(x.values.sum(dim=0, keepdim=True).expand_as(x.values).clone()),
                [a],
            )
        else:
            self.operate(
                lambda: _wrap(
                    ttnn.reduce_scatter(ttnn.all_gather(a.tensor, dim=-1, cluster_axis=1), dim=-1, cluster_axis=1)
                ),
                lambda: _wrapped(x.values * self.chips),
                [a],
            )

    def do_send(self) -> None:
        import ttnn

        a, b = self.pick(), self.pick()
        if self.chips == 1 or a.tensor.shape != b.tensor.shape or a.cell is b.cell:
            return
        x, y, sender = a.cell, b.cell, self.random.randrange(2)
        with self.failing(a, b):
            ttnn.point_to_point(
                a.tensor,
                ttnn.MeshCoordinate(0, sender),
                ttnn.MeshCoordinate(0, 1 - sender),
                output_tensor=b.tensor,
            )
        assert self.alive(a), "a send of a dead tensor"
        assert self.alive(b), "a send into a dead tensor"

        def step() -> None:
            if y.values is None:  # known on the receiver alone
                y.values = UNKNOWN
                return
            y.values = y.values.clone()
            y.values[1 - sender] = x.values[sender].reshape(y.values.shape[1:])

        self.run([x, y], y, step)

    def do_move(self) -> None:
        import ttnn

        a = self.pick()
        x = a.cell
        config = self.random.choice((ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG))
        if not self.alive(a) or a.tensor.memory_config() == config:
            return
        self.operate(lambda: ttnn.to_memory_config(a.tensor, config), lambda: x.values.clone(), [a])

    def do_view(self) -> None:
        import ttnn

        a = self.pick()
        shape = tuple(a.tensor.shape)
        target = (1, *shape) if len(shape) < 4 else shape[1:]
        view = ttnn.reshape(a.tensor, target)
        assert self.alive(a), "a view of a dead tensor"
        self.pool.append(Entry(view, a.cell, a.generation))

    def do_in_place(self) -> None:
        import ttnn

        a, b = self.pick(), self.pick()
        if a.tensor.shape != b.tensor.shape:
            return
        x, y = a.cell, b.cell
        with self.failing(a, b):
            ttnn.maximum(a.tensor, b.tensor, output_tensor=a.tensor, queue_id=self.queue())
        assert self.alive(a), "an operation on a dead tensor"
        assert self.alive(b), "an operation on a dead tensor"

        def step() -> None:
            import torch

            x.values = torch.maximum(x.values.reshape(y.values.shape), y.values)

        self.run([x, y], x, step)

    def do_into(self) -> None:
        """An operation with a given output tensor."""
        import ttnn

        a, b = self.pick(), self.pick()
        if a.tensor.shape != b.tensor.shape or a.cell is b.cell:
            return
        x, y = a.cell, b.cell
        with self.failing(a, b):
            ttnn.add(a.tensor, 0.0, output_tensor=b.tensor, queue_id=self.queue())
        assert self.alive(a), "an operation on a dead tensor"
        assert self.alive(b), "an operation on a dead tensor"

        def step() -> None:
            y.values = x.values.clone()

        self.run([x], y, step)

    def do_deallocate(self) -> None:
        import ttnn

        a = self.pick()
        ttnn.deallocate(a.tensor)

    def do_drop(self) -> None:
        self.drop()

    def do_event(self) -> None:
        import ttnn

        self.events = [*self.events[-3:], ttnn.record_event(self.mesh, self.queue())]

    def do_wait(self) -> None:
        import ttnn

        if self.events:
            ttnn.wait_for_event(self.queue(), self.random.choice(self.events))

    def do_event_synchronize(self) -> None:
        import ttnn

        if self.events:
            ttnn.event_synchronize(self.random.choice(self.events))

    def do_synchronize(self) -> None:
        import ttnn

        ttnn.synchronize_device(self.mesh)

    def do_begin(self) -> None:
        import ttnn

        if self.capture:
            self.refuse_expected(lambda: ttnn.begin_trace_capture(self.mesh, cq_id=0), "a second capture")
        else:
            ttnn.synchronize_device(self.mesh)
            self.capture = Trace(ttnn.begin_trace_capture(self.mesh, cq_id=0))

    def do_end(self) -> None:
        import ttnn

        if self.capture is None:
            self.refuse_expected(lambda: ttnn.end_trace_capture(self.mesh, ttnn.MeshTraceId(1)), "an end without begin")
            return
        trace, self.capture = self.capture, None
        ttnn.end_trace_capture(self.mesh, trace.number, cq_id=0)
        self.traces = [*self.traces[-4:], trace]

    def do_execute(self) -> None:
        import ttnn

        if not self.traces:
            self.refuse_expected(lambda: ttnn.execute_trace(self.mesh, ttnn.MeshTraceId(10**6)), "an unknown trace")
            return
        trace = self.random.choice(self.traces)
        ttnn.execute_trace(self.mesh, trace.number, cq_id=self.queue(), blocking=self.random.random() < 0.5)
        assert trace.sound, "a trace with a refusal in it was replayed"
        assert self.capture is None, "a replay in a capture"
        stale = {
            it for reads, write in trace.cells for it in (*reads, write) if it not in trace.own and not self.held(it)
        }
        for cell in stale:
            cell.values = UNKNOWN
        for step, (reads, write) in zip(trace.steps, trace.cells, strict=True):
            _perform(step, reads, write)

    def do_release(self) -> None:
        import ttnn

        if self.traces:
            trace = self.traces.pop(self.random.randrange(len(self.traces)))
            ttnn.release_trace(self.mesh, trace.number)
            self.refuse_expected(lambda: ttnn.execute_trace(self.mesh, trace.number), "a released trace")

    def do_nonsense(self) -> None:
        import ttnn

        calls: list[Callable[[], Any]] = [
            lambda: self.mesh.quiesce_devices(),
            lambda: self.mesh.load_sub_device_manager(None),
            lambda: ttnn.add(self.pick().tensor, None),
            lambda: ttnn.matmul(self.pick().tensor, "x"),
            lambda: ttnn.wait_for_event(0, None),
            lambda: ttnn.to_device(3, self.mesh),
        ]
        self.refuse_expected(self.random.choice(calls), "nonsense")

    def do_warm(self) -> None:
        """Compile everything, so that captures have a chance."""
        import ttnn

        if self.capture:
            return
        ttnn.synchronize_device(self.mesh)
        for shape in SHAPES:
            host, _ = self.host(shape)
            for config in (ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG):
                a = ttnn.to_device(host, self.mesh, memory_config=config)
                for name in ("neg", "relu", "abs", "clone"):
                    getattr(ttnn, name)(a)
                for name in ("add", "subtract", "minimum", "maximum"):
                    _wrap(getattr(ttnn, name)(a, a))
                ttnn.maximum(a, a, output_tensor=a)
                ttnn.add(a, 0.0, output_tensor=ttnn.clone(a))
                if self.chips > 1:
                    ttnn.all_reduce(a, cluster_axis=1)
                    ttnn.reduce_scatter(ttnn.all_gather(a, dim=-1, cluster_axis=1), dim=-1, cluster_axis=1)

    def do_reopen(self) -> None:
        if self.random.random() < 0.1:
            self.reopen()


def _wrap(tensor: Any) -> Any:
    """Keep sums of sums within what bfloat16 holds exactly."""
    import ttnn

    return ttnn.clamp(tensor, -64.0, 64.0)


def _wrapped(values: Any) -> Any:
    return values.clamp(-64, 64)


def _perform(step: Callable[[], None], reads: list[Cell], write: Cell) -> None:
    if any(cell.values is UNKNOWN for cell in reads):
        write.values = UNKNOWN
    else:
        step()


ACTIONS = (
    *("create",) * 4,
    *("read",) * 8,
    *("write",) * 3,
    *("binary",) * 5,
    *("unary",) * 4,
    *("move",) * 2,
    *("view",) * 2,
    *("in_place", "in_place", "into", "into"),
    *("exchange",) * 3,
    "send",
    *("deallocate",) * 2,
    *("synchronize",) * 3,
    *("begin", "end", "end", "execute", "execute", "execute"),
    *("drop", "event", "wait", "event_synchronize", "release", "nonsense", "warm", "reopen", "create_on_closed"),
)


def main(cache: str, seed: str, seconds: str, chips: str) -> None:
    target = EmulatedTarget(system_of("n150" if chips == "1" else "n300"), (1, int(chips)), Path(cache))
    target.prepare()
    target.install()
    import torch

    torch.set_num_threads(1)
    machine = Machine(target, int(seed), int(chips))
    machine.do_warm()
    machine.step_named("create")
    end = time.monotonic() + float(seconds)
    steps = 0
    while time.monotonic() < end:
        if not machine.pool:
            if machine.capture:
                machine.reopen()
            machine.step_named("create")
            continue
        machine.step()
        steps += 1
        if steps % 100 == 0:
            print(steps, flush=True)  # noqa: T201
    machine.pool.clear()
    target.close_mesh(machine.mesh)
    print(f"done {steps} {machine.refusals} {machine.checked}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
