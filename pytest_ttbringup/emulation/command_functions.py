"""TT-NN's functions for traces, events, opening and closing a device, as the emulated device answers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.commands import Commands
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.queues import QUEUES, Event, queue_of

if TYPE_CHECKING:
    import ttnn

Function = Callable[..., Any]


def command_functions(commands: Commands) -> list[tuple[Function, Function]]:
    """TT-NN's own functions, each with what to put in its place."""
    import ttnn

    synchronize = ttnn._ttnn.device.synchronize_device
    trace, events, device = ttnn._ttnn.operations.trace, ttnn._ttnn.events, ttnn._ttnn.device
    commands.check_queue = lambda mesh, queue: synchronize(mesh, queue, [])
    own = _Functions(commands, record_event=events.record_event, synchronize_device=synchronize)
    pairs: list[tuple[Function, Function]] = [
        (trace.begin_trace_capture, own.begin_trace_capture),
        (trace.end_trace_capture, own.end_trace_capture),
        (trace.execute_trace, own.execute_trace),
        (trace.release_trace, own.release_trace),
        (device.is_trace_capture_active, own.is_trace_capture_active),
        (events.record_event, own.record_event),
        (events.wait_for_event, own.wait_for_event),
        (events.event_synchronize, own.event_synchronize),
        (device.synchronize_device, own.synchronize_device),
    ]
    closing = (ttnn._ttnn.multi_device.close_mesh_device, device.close_device, device.CloseDevice)
    pairs.append((ttnn._ttnn.multi_device.open_mesh_device, own.opening(ttnn._ttnn.multi_device.open_mesh_device)))
    return [*pairs, *((function, own.closing(function)) for function in closing)]


class _Functions:
    def __init__(self, commands: Commands, *, record_event: Function, synchronize_device: Function) -> None:
        self._commands = commands
        self._record = record_event
        self._synchronize = synchronize_device

    def opening(self, original: Function) -> Function:
        def open_mesh_device(*, num_command_queues: int, **keywords: Any) -> ttnn.MeshDevice:
            mesh = original(num_command_queues=num_command_queues, **keywords)
            self._commands.opened(mesh, num_command_queues)
            return mesh

        return open_mesh_device

    def closing(self, original: Function) -> Function:
        def close(mesh_device: ttnn.MeshDevice) -> None:
            self._commands.forks.check("ttnn.close_mesh_device", mesh_device)
            meshes = [mesh_device, *mesh_device.get_submeshes()]
            original(mesh_device)
            for mesh in meshes:
                self._commands.closed(mesh)

        return close

    def begin_trace_capture(self, mesh_device: ttnn.MeshDevice, *, cq_id: Any = None) -> ttnn.MeshTraceId:
        import ttnn

        self._check(mesh_device, "ttnn.begin_trace_capture", queue := _queue(cq_id))
        loaded = self._commands.sub_devices.loaded_on(mesh_device)
        return ttnn.MeshTraceId(self._commands.traces.begin(mesh_device, queue, loaded))

    def end_trace_capture(self, mesh_device: ttnn.MeshDevice, trace_id: ttnn.MeshTraceId, *, cq_id: Any = None) -> None:
        self._check(mesh_device, "ttnn.end_trace_capture", queue := _queue(cq_id))
        self._commands.traces.end(mesh_device, _number(trace_id, "ttnn.end_trace_capture"), queue)

    def execute_trace(
        self, mesh_device: ttnn.MeshDevice, trace_id: ttnn.MeshTraceId, *, cq_id: Any = None, blocking: bool = True
    ) -> None:
        self._check(mesh_device, "ttnn.execute_trace", queue := _queue(cq_id))
        number, sub_devices = _number(trace_id, "ttnn.execute_trace"), self._commands.sub_devices
        self._commands.traces.execute(
            mesh_device,
            number,
            queue,
            self._commands.replay,
            blocking=blocking,
            manager=sub_devices.loaded_on(mesh_device),
            owns=sub_devices.count(mesh_device) == 1,
        )

    def release_trace(self, mesh_device: ttnn.MeshDevice, trace_id: ttnn.MeshTraceId) -> None:
        self._check(mesh_device, "ttnn.release_trace", None)
        self._commands.traces.release(mesh_device, _number(trace_id, "ttnn.release_trace"))

    def is_trace_capture_active(self, device: ttnn.MeshDevice) -> bool:
        return self._commands.traces.is_capturing(device.id())

    def record_event(
        self,
        mesh_device: ttnn.MeshDevice,
        cq_id: Any = None,
        sub_device_ids: Any = (),
        device_range: Any = None,
    ) -> Event:
        self._check_open(mesh_device, "ttnn.record_event")
        queue = _queue(cq_id)
        self._commands.traces.refuse_during(mesh_device, "ttnn.record_event", _NO_EVENTS)
        known = self._commands.sub_devices.known_to_mock(mesh_device, sub_device_ids or [])
        self._record(mesh_device, queue, known, device_range)
        return self._commands.queues.record(mesh_device.id(), queue)

    def wait_for_event(self, cq_id: Any, mesh_event: Event) -> None:
        event = _event(mesh_event, "ttnn.wait_for_event")
        queue = _queue(cq_id)
        if not self._commands.has_queue(event.device, queue):
            raise EmulationError(
                f"ttnn.wait_for_event: command queue {queue} is out of range; a device has queue 0, and queue 1 if "
                "it is opened with num_command_queues=2."
            )
        for index in range(QUEUES):
            if capture := self._commands.traces.capture_on(event.device, index):
                capture.refuse("ttnn.wait_for_event", _NO_EVENTS)
        self._commands.queues.wait(queue, event)

    def event_synchronize(self, mesh_event: Event) -> None:
        self._commands.queues.host_waits(_event(mesh_event, "ttnn.event_synchronize"))

    def synchronize_device(self, device: ttnn.MeshDevice, cq_id: Any = None, sub_device_ids: Any = ()) -> None:
        self._commands.forks.check("ttnn.synchronize_device", device)
        queue = None if cq_id is None else int(cq_id)
        self._commands.traces.refuse_during(device, "ttnn.synchronize_device", _NO_EVENTS)
        self._synchronize(device, cq_id, self._commands.sub_devices.known_to_mock(device, sub_device_ids or []))
        self._commands.queues.synchronize(device.id(), queue)

    def _check(self, mesh: ttnn.MeshDevice, name: str, queue: int | None) -> None:
        """Refuse closed devices and queues they don't have; the latter in TT-NN's words."""
        self._check_open(mesh, name)
        if queue is not None:
            self._synchronize(mesh, queue, [])

    def _check_open(self, mesh: ttnn.MeshDevice, name: str) -> None:
        if self._commands.is_closed(mesh):
            raise EmulationError(f"{name}: mesh device {mesh.id()} was closed by ttnn.close_mesh_device.")
        self._commands.forks.check(name, mesh)


_NO_EVENTS = "Event Synchronization is not supported during trace capture. Move it out of the capture."


def _queue(cq_id: Any) -> int:
    return queue_of({"cq_id": cq_id})


def _number(trace_id: Any, name: str) -> int:
    import ttnn

    if not isinstance(trace_id, ttnn.MeshTraceId):
        raise TypeError(f"{name}: {trace_id!r} is no trace id; ttnn.begin_trace_capture makes them.")
    return int(trace_id)


def _event(event: Any, name: str) -> Event:
    if not isinstance(event, Event):
        raise TypeError(f"{name}: {event!r} is no event; ttnn.record_event makes them.")
    return event
