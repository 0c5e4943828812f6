"""The host tensor of a read that does not block is used only after the host has waited for the read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError
from pytest_ttbringup.emulation.pending_reads import PendingReads

pytestmark = pytest.mark.parametrize(
    "device_params", [{"num_command_queues": 1}, {"num_command_queues": 2}], indirect=True, ids=["one", "two"]
)

EARLY = r"uses the host tensor of a ttnn.from_device with blocking=False on queue 0, and nothing made the host wait"


@pytest.fixture
def x(mesh_device: ttnn.MeshDevice) -> ttnn.Tensor:
    host = ttnn.from_torch(torch.full((32, 32), 2.0), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    return ttnn.to_device(host, mesh_device)


USES: dict[str, Callable[[ttnn.Tensor, ttnn.MeshDevice], Any]] = {
    "to_torch": lambda host, _: ttnn.to_torch(host),
    "Tensor.to_torch": lambda host, _: host.to_torch(),
    "print": lambda host, _: repr(host),
    "part": lambda host, _: ttnn.to_torch(ttnn.get_device_tensors(host)[0]),
    "to_layout": lambda host, _: ttnn.to_layout(host, ttnn.ROW_MAJOR_LAYOUT),
    "back": lambda host, device: ttnn.to_device(host, device),
}


@pytest.mark.parametrize("use", USES)
def test_used_too_early(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, use: str) -> None:
    host = ttnn.neg(x).cpu(blocking=False)
    with pytest.raises(EmulationError, match=EARLY):
        USES[use](host, mesh_device)
    ttnn.synchronize_device(mesh_device)
    USES[use](host, mesh_device)


WAITS: dict[str, Callable[[ttnn.MeshDevice, ttnn.Tensor], Any]] = {
    "synchronize_device": lambda device, _: ttnn.synchronize_device(device),
    "synchronize_device of its queue": lambda device, _: ttnn.synchronize_device(device, 0),
    "event_synchronize": lambda device, _: ttnn.event_synchronize(ttnn.record_event(device, 0)),
    "a blocking read": lambda _, x: x.cpu(),
    "to_torch of another": lambda _, x: ttnn.to_torch(x),
}


@pytest.mark.parametrize("how", WAITS)
def test_the_host_has_waited(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    host = ttnn.neg(x).cpu(blocking=False)
    WAITS[how](mesh_device, x)
    assert float(ttnn.to_torch(host).max()) == -2.0


def test_the_host_has_waited_for_something_earlier(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    early = ttnn.record_event(mesh_device, 0)
    host = ttnn.neg(x).cpu(blocking=False)
    ttnn.event_synchronize(early)
    with pytest.raises(EmulationError, match=EARLY):
        ttnn.to_torch(host)


def test_a_copy_into_a_host_tensor(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    host = ttnn.allocate_tensor_on_host(x.spec, mesh_device)
    ttnn.copy_device_to_host_tensor(x, host, blocking=False)
    with pytest.raises(EmulationError, match=r"host tensor of a ttnn.copy_device_to_host_tensor with blocking=False"):
        ttnn.to_torch(host)
    ttnn.synchronize_device(mesh_device)
    assert float(ttnn.to_torch(host).max()) == 2.0


def test_few_are_kept_alive(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:  # noqa: ARG001
    reads = [x.cpu(blocking=False) for _ in range(PendingReads.KEPT + 1)]
    ttnn.to_torch(reads[0])  # watched no more
    with pytest.raises(EmulationError, match=EARLY):
        ttnn.to_torch(reads[1])
