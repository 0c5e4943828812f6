"""Tensors come, are written and read, and go."""

from __future__ import annotations

from typing import Any

from machine import Machine
from model import UNKNOWN

SHAPES = ((32, 32), (64, 32), (1, 1, 32, 64))

EXPLAINED = (
    "has overwritten",
    "race between",
    "currently in use",
    "out of range",
    "was closed",
    "has not been executed",
)
"""Why a read of a live tensor may be refused."""


def create(machine: Machine) -> None:
    import ttnn

    host, values = machine.host(machine.random.choice(SHAPES))
    config = machine.random.choice((ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG))
    if machine.capture:
        machine.refuse_expected(
            lambda: ttnn.to_device(host, machine.mesh, memory_config=config), "a write in a capture"
        )
        return
    machine.add(ttnn.to_device(host, machine.mesh, memory_config=config, queue_id=machine.queue()), values)


def read(machine: Machine) -> None:
    import torch
    import ttnn

    entry = machine.pick()
    way = machine.random.choice(
        (
            lambda it: it,
            lambda it: it.cpu(cq_id=machine.queue()),
            ttnn.from_device,
        )
    )

    def parts() -> Any:
        return torch.stack([ttnn.to_torch(part) for part in ttnn.get_device_tensors(way(entry.tensor))])

    if not machine.alive(entry):
        machine.refuse_expected(parts, "a read of a dead tensor")
        return
    if machine.capture:
        machine.refuse_expected(parts, "a read in a capture")
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
        machine.checked += 1


def read_later(machine: Machine) -> None:
    """A read that does not block, used before the host has waited and then after that."""
    import torch
    import ttnn

    entry = machine.pick()
    host = entry.tensor.cpu(blocking=False, cq_id=machine.queue())
    assert machine.alive(entry), "a read of a dead tensor"
    assert machine.capture is None, "a read in a capture"
    parts = ttnn.get_device_tensors(host)
    machine.refuse_expected(lambda: ttnn.to_torch(parts[0]), "a host tensor used too early")
    ttnn.synchronize_device(machine.mesh)
    values = torch.stack([ttnn.to_torch(part) for part in parts]).float()
    expected = entry.cell.values
    assert expected is not None, "a tensor that holds nothing was read"
    if expected is not UNKNOWN:
        assert torch.equal(values, expected.reshape(values.shape)), "wrong value"
        machine.checked += 1


def write(machine: Machine) -> None:
    import ttnn

    entry = machine.pick()
    shape = tuple(entry.tensor.shape) if machine.random.random() < 0.9 else (96, 96)
    host, values = machine.host(shape)
    ttnn.copy_host_to_device_tensor(host, entry.tensor, cq_id=machine.queue())
    assert machine.alive(entry), "a write to a dead tensor"
    assert machine.capture is None, "a write in a capture"
    entry.cell.values = values


def deallocate(machine: Machine) -> None:
    import ttnn

    a = machine.pick()
    ttnn.deallocate(a.tensor)


def drop(machine: Machine) -> None:
    machine.drop()
