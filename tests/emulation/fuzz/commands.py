"""Events and waiting for them, traces, and closing the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from machine import Machine
from model import UNKNOWN, Trace, perform


def event(machine: Machine) -> None:
    import ttnn

    machine.events = [*machine.events[-3:], ttnn.record_event(machine.mesh, machine.queue())]


def wait(machine: Machine) -> None:
    import ttnn

    if machine.events:
        ttnn.wait_for_event(machine.queue(), machine.random.choice(machine.events))


def event_synchronize(machine: Machine) -> None:
    import ttnn

    if machine.events:
        ttnn.event_synchronize(machine.random.choice(machine.events))


def synchronize(machine: Machine) -> None:
    import ttnn

    ttnn.synchronize_device(machine.mesh)


def begin(machine: Machine) -> None:
    import ttnn

    if machine.capture:
        machine.refuse_expected(lambda: ttnn.begin_trace_capture(machine.mesh, cq_id=0), "a second capture")
    else:
        ttnn.synchronize_device(machine.mesh)
        machine.capture = Trace(ttnn.begin_trace_capture(machine.mesh, cq_id=0))


def end(machine: Machine) -> None:
    import ttnn

    if machine.capture is None:
        machine.refuse_expected(
            lambda: ttnn.end_trace_capture(machine.mesh, ttnn.MeshTraceId(1)), "an end without begin"
        )
        return
    trace, machine.capture = machine.capture, None
    ttnn.end_trace_capture(machine.mesh, trace.number, cq_id=0)
    machine.traces = [*machine.traces[-4:], trace]


def beside(machine: Machine) -> None:
    """In a capture: a command of the queue that is not captured, which the hardware would lose."""
    import ttnn

    if machine.capture is None:
        return
    tensor = machine.pick().tensor
    host, _ = machine.host(tuple(tensor.shape))
    calls: list[Callable[[], Any]] = [
        lambda: ttnn.begin_trace_capture(machine.mesh, cq_id=1),
        lambda: ttnn.copy_host_to_device_tensor(host, tensor, cq_id=1),
        lambda: ttnn.to_device(host, machine.mesh, queue_id=1),
        lambda: tensor.cpu(cq_id=1),
        lambda: ttnn.neg(tensor, queue_id=1),
        lambda: ttnn.record_event(machine.mesh, 1),
        lambda: ttnn.synchronize_device(machine.mesh, 1),
    ]
    machine.refuse_expected(machine.random.choice(calls), "a command beside a capture")


def execute(machine: Machine) -> None:
    import ttnn

    if not machine.traces:
        machine.refuse_expected(lambda: ttnn.execute_trace(machine.mesh, ttnn.MeshTraceId(10**6)), "an unknown trace")
        return
    trace = machine.random.choice(machine.traces)
    ttnn.execute_trace(machine.mesh, trace.number, cq_id=machine.queue(), blocking=machine.random.random() < 0.5)
    assert trace.sound, "a trace with a refusal in it was replayed"
    assert machine.capture is None, "a replay in a capture"
    stale = {
        it for reads, write in trace.cells for it in (*reads, write) if it not in trace.own and not machine.held(it)
    }
    for cell in stale:
        cell.values = UNKNOWN
    for step, (reads, write) in zip(trace.steps, trace.cells, strict=True):
        perform(step, reads, write)


def release(machine: Machine) -> None:
    import ttnn

    if machine.traces:
        trace = machine.traces.pop(machine.random.randrange(len(machine.traces)))
        ttnn.release_trace(machine.mesh, trace.number)
        machine.refuse_expected(lambda: ttnn.execute_trace(machine.mesh, trace.number), "a released trace")


def reopen(machine: Machine) -> None:
    if machine.random.random() < 0.1:
        machine.reopen()
