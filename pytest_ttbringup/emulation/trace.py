"""Traces: capture and replay, which TT-Metal's mock cluster can't do (it crashes; measured with ttnn 0.81.1).

A replay computes a captured trace's operations again, from what the buffers hold at that moment, and writes wherever
the capture wrote: also into what the program has put at those addresses since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.allocator import allocated
from pytest_ttbringup.emulation.capture import Capture, Recorded
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.handles import Buffer
from pytest_ttbringup.emulation.program_memory import Beside
from pytest_ttbringup.emulation.queues import CommandQueues
from pytest_ttbringup.emulation.values import DeviceMemory, Form, Place

if TYPE_CHECKING:
    import ttnn

Replay = Callable[[Recorded], None]
"""Computes one recorded operation."""


@dataclass
class _Trace:
    capture: Capture
    inputs: dict[int, tuple[Buffer, Form, str]]
    """Buffers from before the capture, by their number then: which, in what form, and the first operation using it."""
    read_first: set[int]
    """Those of them that the trace reads before it writes them."""
    last_use: list[list[int]]
    """For each operation, the capture's own buffers that no later operation touches."""
    lost: str = ""
    """Why it can't be replayed any more, if so."""


class Traces:
    """The traces of all open devices."""

    def __init__(self, memory: DeviceMemory, queues: CommandQueues) -> None:
        self._memory = memory
        self._queues = queues
        self._captures: dict[tuple[int, int], Capture] = {}
        self._traces: dict[tuple[int, int], _Trace] = {}
        self._released: dict[tuple[int, int], str] = {}
        """Traces that are no more, and what ended them."""
        self._last = 0

    def capture_on(self, device: int, queue: int) -> Capture | None:
        """The capture that commands of this device and queue belong to, if one is under way."""
        return self._captures.get((device, queue)) if self._captures else None

    def capture_of(self, mesh: ttnn.MeshDevice, queue: int, name: str) -> Capture | None:
        """The capture that a command belongs to, if one is under way.

        Raises:
            EmulationError: a capture under way keeps the command from the device, but does not record it.
        """
        for capture in self._captures.values():
            if capture.mesh.id() == mesh.id() and capture.queue == queue:
                return capture
            if capture.blocks(mesh):
                capture.refuse_beside(name, mesh, queue)
        return None

    def refuse_during(self, mesh: ttnn.MeshDevice, name: str, why: str) -> None:
        """Refuse a call that may come in no capture of any of a mesh device's chips.

        Raises:
            EmulationError: there is one.
        """
        for capture in self._captures.values():
            if capture.blocks(mesh):
                capture.refuse(name, why)

    def any_capture(self) -> bool:
        """Whether anything is being captured on any device."""
        return bool(self._captures)

    def is_capturing(self, device: int) -> bool:
        """Whether a capture is under way on a device."""
        return any(key[0] == device for key in self._captures)

    def begin(self, mesh: ttnn.MeshDevice, queue: int, manager: int = 0) -> int:
        """Start a capture; returns the trace's number.

        Args:
            mesh: what it captures the commands of.
            queue: the queue of these commands.
            manager: the loaded sub-device manager, without which the trace can't be replayed.

        Raises:
            EmulationError: the queue is captured already, or a chip of the mesh in another capture.
        """
        active = next((it for it in self._captures.values() if it.blocks(mesh)), None)
        if active is not None:
            which = f"queue {active.queue}" + (f" of mesh device {active.mesh.id()}" if active.mesh != mesh else "")
            raise EmulationError(
                f"ttnn.begin_trace_capture: {which} is already being used for tracing trace {active.number}. "
                "Call ttnn.end_trace_capture first; a chip can be in one capture at a time."
            )
        self._last += 1
        self._captures[mesh.id(), queue] = Capture(self._last, mesh, queue, manager=manager)
        return self._last

    def end(self, mesh: ttnn.MeshDevice, number: int, queue: int) -> None:
        """End a capture. The host then waits for the queue, since TT-Metal writes the trace with a blocking write.

        Raises:
            EmulationError: the queue does not capture that trace, or it does not fit into the trace region.
        """
        capture = self.capture_on(mesh.id(), queue)
        if capture is None or capture.number != number:
            doing = f"it captures trace {capture.number}" if capture else "it captures none"
            raise EmulationError(
                f"ttnn.end_trace_capture: queue {queue} is not being used for tracing trace {number}: {doing}."
            )
        del self._captures[mesh.id(), queue]
        others = sum(
            it.capture.size for (device, _), it in self._traces.items() if device == mesh.id() and it.capture.fit
        )
        self._traces[mesh.id(), number] = _Trace(
            capture, _inputs(capture, self._memory), _read_first(capture), _last_use(capture)
        )
        capture.require_room(others)
        if capture.programs:
            self._queues.synchronize(mesh.id(), queue)

    def execute(
        self,
        mesh: ttnn.MeshDevice,
        number: int,
        queue: int,
        replay: Replay,
        *,
        blocking: bool,
        manager: int = 0,
        owns: bool = True,
    ) -> None:
        """Replay a trace.

        Args:
            mesh: the device it was captured on.
            number: the trace's.
            queue: the command queue that runs it.
            replay: computes an operation.
            blocking: whether the host waits.
            manager: the loaded sub-device manager.
            owns: whether the queue that runs programs keeps the other one from it.

        Raises:
            EmulationError: there is no such trace (any more), its capture failed, or a buffer it reads is gone; the
                queue may not run programs now, or races with the other one.
        """
        trace = self._find(mesh, number)
        capture = trace.capture
        if active := self.capture_of(mesh, queue, "ttnn.execute_trace"):
            active.refuse("ttnn.execute_trace", "a trace can't be replayed inside a capture.")
        if capture.manager != manager:
            raise EmulationError(
                f"ttnn.execute_trace: trace instance {number} must exist on mesh device {mesh.id()}'s active "
                "sub-device manager, and it was captured under another one. Load the sub-device manager of its capture "
                "first, or capture it anew."
            )
        if capture.refused:
            raise EmulationError(
                f"ttnn.execute_trace: trace {number} is incomplete, since its capture failed: {capture.refused}"
            )
        if trace.lost:
            raise EmulationError(f"ttnn.execute_trace: trace {number} can't be replayed any more: {trace.lost}")
        live = allocated(mesh)
        self._bind_inputs(trace, live)
        written = {buffer.place for it in capture.operations for buffer in (handle.buffer for handle in it.written)}
        if capture.programs:
            self._queues.check_owner(queue, mesh.id())
        self._queues.command(
            f"ttnn.execute_trace (trace {number})",
            queue,
            mesh.id(),
            reads=[buffer.place for it, (buffer, _, _) in trace.inputs.items() if it in trace.read_first],
            writes=written,
            blocking=blocking,
            program=owns and capture.programs > 0,
        )
        victims = self._victims(capture, live)
        kept = {it for it, (place, _) in capture.own.items() if place in live and self._memory.buffer_at(place) == it}
        self._memory.meter.replayed(mesh.id(), number, live, lambda: _besides(trace, live))
        with self._memory.without_sweeps():
            for operation, done in zip(capture.operations, trace.last_use, strict=True):
                replay(operation)
                for buffer in done:
                    if buffer not in kept:
                        self._memory.free(buffer)
        for place, (buffer, form, culprit) in victims.items():
            self._memory.spoil(
                place,
                buffer,
                form,
                f"its buffer was allocated after the capture of trace {number}, where {culprit} writes in every "
                "replay, and ttnn.execute_trace has overwritten it. Allocate it before ttnn.begin_trace_capture, or "
                "write it anew after each replay.",
            )

    def release(self, mesh: ttnn.MeshDevice, number: int) -> None:
        """Forget a trace; one that was released before, as on the hardware, is no error.

        Raises:
            EmulationError: it is unknown: of another mesh device, whose trace would stay in its trace region.
        """
        if (mesh.id(), number) in self._released:
            return
        self._find(mesh, number, "ttnn.release_trace")
        del self._traces[mesh.id(), number]
        self._released[mesh.id(), number] = "ttnn.release_trace"

    def lose_programs(self, device: int, how: str) -> None:
        """Let no trace of a device be replayed any more, which would load its programs from DRAM that was freed."""
        for (mesh, _), trace in self._traces.items():
            if mesh == device and trace.capture.programs:
                trace.lost = trace.lost or (
                    f"{how} has freed the binaries of its programs, which it would run from DRAM where other data may "
                    "lie now. Run the same operations once to compile them, and capture the trace again."
                )

    def end_test(self, device: int) -> None:
        """Release what a test has left, as closing its device would: the next one is to find the trace region empty."""
        for key in [key for key in self._traces if key[0] == device]:
            del self._traces[key]
            self._released[key] = "the end of the test that captured it"

    def close(self, device: int) -> None:
        """Forget all traces of a device."""
        for table in (self._captures, self._traces):
            for key in [key for key in table if key[0] == device]:
                del table[key]

    def _find(self, mesh: ttnn.MeshDevice, number: int, caller: str = "ttnn.execute_trace") -> _Trace:
        trace = self._traces.get((mesh.id(), number))
        if trace is not None:
            return trace
        if (mesh.id(), number) in self._released:
            raise EmulationError(f"{caller}: trace {number} was released by {self._released[mesh.id(), number]}.")
        if any(capture.number == number for capture in self._captures.values()):
            raise EmulationError(
                f"{caller}: trace {number} is still being captured; call ttnn.end_trace_capture first."
            )
        known = ", ".join(str(it) for device, it in self._traces if device == mesh.id()) or "none"
        raise EmulationError(f"{caller}: mesh device {mesh.id()} has no trace {number}; its traces: {known}.")

    def _bind_inputs(self, trace: _Trace, live: dict[Place, int]) -> None:
        """Find the buffers that lie where the trace's inputs lay in the capture."""
        for captured, (buffer, form, user) in trace.inputs.items():
            current = self._memory.buffer_at(buffer.place) if buffer.place in live else None
            number = trace.capture.number
            described = f"the {form.dtype.name} buffer of shape {list(form.shape)} that {user} uses in trace {number}"
            if current is None:
                raise EmulationError(
                    f"ttnn.execute_trace: {described} was deallocated after the capture, so that a replay would touch "
                    "whatever lies there now. Keep the tensors that a trace uses for as long as it is replayed."
                )
            if current != buffer.number and not _alike(self._memory.form_of(current), form):
                other = self._memory.form_of(current)
                shape = f"{list(other.shape)} {other.dtype.name}" if other else "unknown contents"
                raise EmulationError(
                    f"ttnn.execute_trace: {described} was deallocated after the capture, and its address now holds "
                    f"another tensor ({shape}). Keep the tensors that a trace uses for as long as it is replayed."
                )
            if captured in trace.read_first and (why := self._memory.why_unreadable(current)):
                raise EmulationError(f"ttnn.execute_trace: {described} holds nothing: {why}")
            buffer.number = current  # a tensor like the captured one was put in its place, which TT-NN's demos do

    def _victims(self, capture: Capture, live: dict[Place, int]) -> dict[Place, tuple[int, Form, str]]:
        """Buffers that a replay overwrites though they don't belong to the trace, with the operation that does it."""
        names: dict[int, str] = {}
        for operation in capture.operations:
            for handle in operation.written:
                names.setdefault(handle.buffer.number, operation.name)
        regions = [(*where, names[number]) for number, where in capture.own.items() if number in names]
        victims = {}
        for place, size in live.items():
            buffer = self._memory.buffer_at(place)
            form = None if buffer is None else self._memory.form_of(buffer)
            if buffer is None or form is None or buffer in names:
                continue
            for where, length, name in regions:
                if _overlap((where, length), (place, size)):
                    victims[place] = (buffer, form, name)
                    break
        return victims


def _inputs(capture: Capture, memory: DeviceMemory) -> dict[int, tuple[Buffer, Form, str]]:
    found: dict[int, tuple[Buffer, Form, str]] = {}
    for operation in capture.operations:
        for handle in (*operation.inputs, *operation.written):
            number = handle.buffer.number
            if number not in capture.own:
                found.setdefault(number, (handle.buffer, memory.form_of(number) or handle.form, operation.name))
    return found


def _read_first(capture: Capture) -> set[int]:
    read: set[int] = set()
    written: set[int] = set()
    for operation in capture.operations:
        read |= {handle.buffer.number for handle in operation.inputs} - written
        written |= {handle.buffer.number for handle in operation.written}
    return read


def _alike(one: Form | None, other: Form) -> bool:
    return one is not None and one[:3] == other[:3] and one.dtype == other.dtype


def _last_use(capture: Capture) -> list[list[int]]:
    last: dict[int, int] = {}
    for index, operation in enumerate(capture.operations):
        for handle in (*operation.inputs, *operation.written):
            if handle.buffer.number in capture.own:
                last[handle.buffer.number] = index
    done: list[list[int]] = [[] for _ in capture.operations]
    for buffer, index in last.items():
        done[index].append(buffer)
    return done


def _besides(trace: _Trace, live: dict[Place, int]) -> Iterator[Beside]:
    """For each operation of a trace, what a replay takes in it beside all that is allocated: of the capture's own
    buffers those that lie apart from that, from the first operation that touches one to the last, and what the
    operation takes itself.
    """
    own = {
        number: it for number, it in trace.capture.own.items() if not any(_overlap(it, other) for other in live.items())
    }
    held: Counter[int] = Counter()
    touched: set[int] = set()
    for operation, done in zip(trace.capture.operations, trace.last_use, strict=True):
        for number in {it.buffer.number for it in (*operation.inputs, *operation.written)} & own.keys() - touched:
            touched.add(number)
            held[own[number][0][1]] += own[number][1]
        yield Counter(held) + Counter(operation.beside)
        for number in touched.intersection(done):
            held[own[number][0][1]] -= own[number][1]


def _overlap(one: tuple[Place, int], other: tuple[Place, int]) -> bool:
    (place, size), (other_place, other_size) = one, other
    return place[:2] == other_place[:2] and place[2] < other_place[2] + other_size and other_place[2] < place[2] + size
