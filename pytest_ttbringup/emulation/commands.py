"""What operations and transfers report to: the order of commands, and the traces they may be captured into."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.capture import Capture, Recorded
from pytest_ttbringup.emulation.forks import Forks
from pytest_ttbringup.emulation.part_programs import PartPrograms
from pytest_ttbringup.emulation.pending_reads import PendingReads
from pytest_ttbringup.emulation.queues import QUEUES, CommandQueues, queue_of
from pytest_ttbringup.emulation.sub_devices import SubDevices
from pytest_ttbringup.emulation.trace import Traces
from pytest_ttbringup.emulation.values import DeviceMemory, place_of

if TYPE_CHECKING:
    import ttnn


class Commands:
    """The command queues and traces of one device memory."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self.queues = CommandQueues()
        self.pending_reads = PendingReads(self.queues)
        self.traces = Traces(memory, self.queues)
        self.forks = Forks()
        self.sub_devices = SubDevices()
        self.sub_devices.on_change = self._divided_anew
        self.part_programs = PartPrograms()
        self.part_programs.on_clear = lambda mesh, how: self.traces.lose_programs(mesh.id(), how)
        self.replay: Callable[[Recorded], None]
        """Computes a recorded operation; set once the operations' wrapper exists."""
        self.check_queue: Callable[[ttnn.MeshDevice, int], None]
        """Raises TT-NN's own error if a mesh device has no such queue."""
        self.forget_programs: Callable[[int], None] = lambda _: None
        """Forgets what is known of the programs of a mesh device, by its id."""
        self._one_queue: set[int] = set()
        """Ids of the mesh devices that were opened with one queue, on which nothing can race."""

    def capturing(self) -> bool:
        """Whether any capture is under way."""
        return self.traces.any_capture()

    def capture_of(
        self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], tensors: Iterable[ttnn.Tensor]
    ) -> Capture | None:
        """The capture that a call belongs to: by its queue, and the device of its tensors or among its arguments.

        Raises:
            EmulationError: it is a command that a capture keeps from the device, but does not record.
        """
        import ttnn

        queue = queue_of(keywords)
        devices = [tensor.device() for tensor in tensors if tensor.is_allocated()]
        devices += [it for it in (*arguments, *keywords.values()) if isinstance(it, ttnn.MeshDevice)]
        captures = [self.traces.capture_of(device, queue, name) for device in devices]
        return next((capture for capture in captures if capture is not None), None)

    def command(
        self,
        name: str,
        keywords: dict[str, Any],
        *,
        reads: list[ttnn.Tensor],
        writes: list[ttnn.Tensor],
        blocking: bool = False,
        program: bool = False,
    ) -> None:
        """Note a command that touches these device tensors.

        Raises:
            EmulationError: a race with a command of the other queue.
        """
        mesh = (writes or reads)[0].device()
        if mesh.id() in self._one_queue:
            if blocking:
                self.queues.synchronize(mesh.id(), 0)
            return
        sources, targets = [place_of(tensor) for tensor in reads], [place_of(tensor) for tensor in writes]
        owns = program and self.sub_devices.count(mesh) == 1
        self.queues.command(
            name, queue_of(keywords), mesh.id(), reads=sources, writes=targets, blocking=blocking, program=owns
        )

    def program(
        self, keywords: dict[str, Any], tensors: list[ttnn.Tensor], *, captured: bool = False
    ) -> dict[str, Any]:
        """The keywords with which to have TT-NN run an operation: always on queue 0, on all chips and whole chips.

        The mock cluster finishes nothing, and so never lets a second queue run programs (`CommandQueues.check_owner`).

        Raises:
            EmulationError: the operation's queue may not run programs now. In a capture it runs none.
        """
        queue = queue_of(keywords)
        if not tensors or not tensors[0].is_allocated():
            return keywords
        mesh = tensors[0].device()
        if queue:
            self.check_queue(mesh, queue)
            keywords = {name: value for name, value in keywords.items() if name != "cq_id"} | {"queue_id": 0}
        if not captured:
            self.queues.check_owner(queue, mesh.id())
        if "mesh_coords" in keywords:  # the mock cluster crashes when a program runs on some chips of a mesh only
            keywords = {name: value for name, value in keywords.items() if name != "mesh_coords"}
        return self.sub_devices.on_whole_chip(mesh, keywords)

    def transfer(self, name: str, keywords: dict[str, Any], *, read: Any = None, written: Any = None) -> None:
        """Note that the host reads or writes a device tensor.

        Raises:
            EmulationError: it does so inside a capture, or races with the other queue.
        """
        tensor = written if read is None else read
        self.forks.check(name, tensor.device())
        if queue := queue_of(keywords):
            self.check_queue(tensor.device(), queue)
        if self.capturing() and (capture := self.capture_of(name, (), keywords, [tensor])):
            kind = "Writes" if read is None else "Reads"
            capture.refuse(name, f"{kind} are not supported during trace capture. Move it out of the capture.")
        blocking = read is not None and not reads_later(keywords)
        self.command(
            name,
            keywords,
            reads=[] if read is None else [read],
            writes=[] if written is None else [written],
            blocking=blocking,
        )

    def read_later(self, name: str, keywords: dict[str, Any], device: int, filled: ttnn.Tensor) -> None:
        """Note that a read which does not block fills a host tensor."""
        queue = queue_of(keywords)
        if device in self._one_queue:  # whose commands are not counted otherwise
            self.queues.command(name, queue, device, reads=(), writes=())
        self.pending_reads.sweep()
        self.pending_reads.add(filled, device, queue, name)

    def allocated(self, tensor: ttnn.Tensor, keywords: dict[str, Any]) -> None:
        """Note that a device tensor was allocated without being written."""
        capture = self.traces.capture_on(tensor.device().id(), queue_of(keywords)) if self.capturing() else None
        if capture is not None:
            capture.adopt([tensor])

    def opened(self, mesh: ttnn.MeshDevice, queues: int) -> None:
        """Note a mesh device with so many command queues; one that nobody notes is taken to have all."""
        if queues == 1:
            self._one_queue.add(mesh.id())

    def has_queue(self, device: int, queue: int) -> bool:
        """Whether a mesh device, by its id, was opened with a queue."""
        return 0 <= queue < (1 if device in self._one_queue else QUEUES)

    def is_closed(self, mesh: ttnn.MeshDevice) -> bool:
        """Whether a mesh device was closed."""
        return mesh.id() in self._memory.closed

    def clear(self) -> None:
        """Forget everything but which devices are closed."""
        self.queues = CommandQueues()
        self.pending_reads = PendingReads(self.queues)
        self.traces = Traces(self._memory, self.queues)
        self.sub_devices.clear()

    def _divided_anew(self, mesh: ttnn.MeshDevice, how: str) -> None:
        """A sub-device manager is about to be loaded.

        Raises:
            EmulationError: a chip of the mesh device is in the capture of a trace.
        """
        self.traces.refuse_during(mesh, how, "Cannot reset worker state during trace capture. Do it before.")
        self.queues.forget_owner(mesh.id())

    def closed(self, mesh: ttnn.MeshDevice) -> None:
        """Forget what belongs to a mesh device that is closed."""
        device = mesh.id()
        self._memory.close(device)
        self._one_queue.discard(device)
        self.forget_programs(device)
        self.pending_reads.close(device)
        self.queues.close(device)
        self.traces.close(device)
        self.sub_devices.close(device)


def reads_later(keywords: dict[str, Any]) -> bool:
    """Whether a read with these keywords does not block."""
    return keywords.get("blocking", True) is False
