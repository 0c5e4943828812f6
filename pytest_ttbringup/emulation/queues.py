"""Command queues and events: which command is known to be over when another one starts.

The emulated device computes every command at once, in the order of the calls. Two command queues of a device run side
by side, though, and only events order them. So each queue carries a vector clock (for every queue: the number of its
last command that is certainly over), and a command is refused that

- reads a buffer which another queue wrote,
- writes one which another queue read, or
- writes one which another queue wrote

later than that: the hardware would mostly give the right values too, and now and then not. Of two reads either may be
first.

Buffers are known by their place, so that an address which was freed and used again is watched as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    from pytest_ttbringup.emulation.values import Place

Clock = list[int]
"""For each queue the number of a command; it and all before it are over."""

QUEUES = 2
"""Command queues a device can have (TT-Metal allows one or two)."""


QUEUE_KEYWORDS = ("queue_id", "cq_id")
"""The keywords by which an operation of TT-NN takes its command queue."""


class Stamp(NamedTuple):
    """A command: which queue, the how manieth there, and the operation's name."""

    queue: int
    number: int
    name: str


@dataclass(frozen=True)
class Event:
    """What `ttnn.record_event` returns on the emulated device."""

    device: int
    queue: int
    number: int
    """The how manieth event of its device."""
    clock: tuple[int, ...]


@dataclass
class _Timeline:
    issued: Clock = field(default_factory=lambda: [0] * QUEUES)
    host: Clock = field(default_factory=lambda: [0] * QUEUES)
    seen: list[Clock] = field(default_factory=lambda: [[0] * QUEUES for _ in range(QUEUES)])
    writes: dict[Place, Stamp] = field(default_factory=dict)
    reads: dict[Place, dict[int, Stamp]] = field(default_factory=dict)
    events: int = 0
    owner: int | None = None
    """The queue that runs programs; TT-Metal has one at a time do so."""
    passed_on_by: int | None = None
    """The number of the owner's first event after its last program: once the other queue has waited for this event or a
    later one, it may run programs.
    """

    def finished(self, queue: int) -> None:
        """The host has waited for all commands of a queue."""
        if self.owner == queue:
            self.owner = self.passed_on_by = None


class CommandQueues:
    """The command queues of all open devices."""

    def __init__(self) -> None:
        self._timelines: dict[int, _Timeline] = {}

    def command(
        self,
        name: str,
        queue: int,
        device: int,
        *,
        reads: Iterable[Place],
        writes: Iterable[Place],
        blocking: bool = False,
        program: bool = False,
    ) -> None:
        """Note a command; `blocking` if the host waits for it, `program` if the device's cores run it.

        A refused command was not sent, and leaves no trace here: the next one is judged as if it had never been tried.

        Raises:
            EmulationError: it reads or writes what a command of another queue may still be writing, or writes what one
                may still be reading.
        """
        reads, writes = tuple(reads), tuple(writes)
        line = self._timeline(device)
        clock = line.seen[queue]
        _advance(clock, line.host)
        stamp = Stamp(queue, line.issued[queue] + 1, name)
        for place in reads:
            _check(line.writes.get(place), clock, stamp, place, _READ_AFTER_WRITE)
        for place in writes:
            _check(line.writes.get(place), clock, stamp, place, _WRITE_AFTER_WRITE)
            for earlier in line.reads.get(place, {}).values():
                _check(earlier, clock, stamp, place, _WRITE_AFTER_READ)
        line.issued[queue] = clock[queue] = stamp.number
        for place in reads:
            line.reads.setdefault(place, {})[queue] = stamp
        for place in writes:
            line.reads.pop(place, None)  # whoever waits for this command waits for those reads
            line.writes[place] = stamp
        if program:
            line.owner, line.passed_on_by = queue, None
        if blocking:
            _advance(line.host, clock)
            line.finished(queue)

    def check_owner(self, queue: int, device: int) -> None:
        """Whether a queue may run programs now: TT-Metal's `CQOwnerState`.

        The other queue may have run some before only if the host has waited for that queue since (`finish`), or this
        one for an event which that queue recorded after them. `ttnn.event_synchronize` changes nothing here.

        Raises:
            EmulationError: it may not.
        """
        line = self._timeline(device)
        if line.owner not in (None, queue):
            raise EmulationError(
                f"Sub device id 0 currently in use by cq {line.owner}. Can't enqueue program from cq {queue}. "
                f"Finish or wait for an event to transfer ownership: ttnn.wait_for_event({queue}, "
                f"ttnn.record_event(mesh_device, {line.owner}))."
            )

    def forget_owner(self, device: int) -> None:
        """Let any queue run programs: the device's cores were divided anew."""
        line = self._timeline(device)
        line.owner = line.passed_on_by = None

    def record(self, device: int, queue: int) -> Event:
        """An event after all commands of the queue so far."""
        line = self._timeline(device)
        _advance(line.seen[queue], line.host)
        line.seen[queue][queue] = line.issued[queue]
        line.events += 1
        if line.owner == queue and line.passed_on_by is None:
            line.passed_on_by = line.events
        return Event(device, queue, line.events, tuple(line.seen[queue]))

    def wait(self, queue: int, event: Event) -> None:
        """Let the queue's next commands start after the event."""
        line = self._timeline(event.device)
        _advance(line.seen[queue], event.clock)
        passed_on = line.passed_on_by is not None and event.number >= line.passed_on_by
        if passed_on and line.owner == event.queue != queue:
            line.owner = line.passed_on_by = None

    def host_waits(self, event: Event) -> None:
        """Let all commands from now on start after the event."""
        _advance(self._timeline(event.device).host, event.clock)

    def host_has_seen(self, event: Event) -> bool:
        """Whether the host has waited for an event or a later one of its queue."""
        return self._timeline(event.device).host[event.queue] >= event.clock[event.queue]

    def synchronize(self, device: int, queue: int | None) -> None:
        """The host waits for one queue or all."""
        for index in range(QUEUES) if queue is None else (queue,):
            self.host_waits(self.record(device, index))
            self._timeline(device).finished(index)

    def close(self, device: int) -> None:
        """Forget a device."""
        self._timelines.pop(device, None)

    def _timeline(self, device: int) -> _Timeline:
        line = self._timelines.get(device)
        if line is None:
            line = self._timelines[device] = _Timeline()
        return line


def queue_of(keywords: dict[str, Any]) -> int:
    """The command queue of a call: its `queue_id` or `cq_id`, or that of `ttnn.command_queue(...)` around it, or 0."""
    import ttnn

    queue = keywords.get("queue_id")
    if queue is None:
        queue = keywords.get("cq_id")
    return int(ttnn.get_current_command_queue_id_for_thread() if queue is None else queue)


def _advance(clock: Clock, other: Iterable[int]) -> None:
    for queue, number in enumerate(other):
        if number > clock[queue]:
            clock[queue] = number


class _Hazard(NamedTuple):
    """What two commands do to one buffer, and what becomes of it if nothing orders them."""

    now: str
    before: str
    may: str


_READ_AFTER_WRITE = _Hazard("reads", "wrote", "{now.name} may get the old values")
_WRITE_AFTER_READ = _Hazard("writes", "reads", "{earlier.name} may get the new values")
_WRITE_AFTER_WRITE = _Hazard("writes", "wrote", "the values of {earlier.name} may be those that stay")


def _check(earlier: Stamp | None, clock: Clock, now: Stamp, place: Place, hazard: _Hazard) -> None:
    if earlier is None or earlier.queue == now.queue or clock[earlier.queue] >= earlier.number:
        return
    import ttnn

    _, kind, address = place
    buffer = f"{ttnn.BufferType(kind).name} buffer at {address:#x}"
    raise EmulationError(
        f"race between command queues: {now.name} on queue {now.queue} {hazard.now} the {buffer} that {earlier.name} "
        f"on queue {earlier.queue} {hazard.before}, and nothing makes queue {now.queue} wait for it; on the hardware "
        f"{hazard.may.format(now=now, earlier=earlier)}. After {earlier.name}: event = ttnn.record_event(mesh_device, "
        f"{earlier.queue}); before {now.name}: ttnn.wait_for_event({now.queue}, event)."
    )
