"""Calls that are never right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from machine import Machine


def create_on_closed(machine: Machine) -> None:
    import ttnn

    if machine.closed:
        host, _ = machine.host((32, 32))
        machine.refuse_expected(lambda: ttnn.to_device(host, machine.closed[0]), "a tensor on a closed device")
        machine.refuse_expected(lambda: ttnn.begin_trace_capture(machine.closed[0]), "a capture on a closed device")
        machine.refuse_expected(lambda: ttnn.record_event(machine.closed[0], 0), "an event of a closed device")
        machine.refuse_expected(lambda: machine.closed[0].create_submesh(ttnn.MeshShape(1, 1)), "a submesh")


def nonsense(machine: Machine) -> None:
    import ttnn

    calls: list[Callable[[], Any]] = [
        lambda: machine.mesh.quiesce_devices(),
        lambda: machine.mesh.load_sub_device_manager(None),
        lambda: ttnn.add(machine.pick().tensor, None),
        lambda: ttnn.matmul(machine.pick().tensor, "x"),
        lambda: ttnn.wait_for_event(0, None),
        lambda: ttnn.to_device(3, machine.mesh),
    ]
    machine.refuse_expected(machine.random.choice(calls), "nonsense")
