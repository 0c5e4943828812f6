"""Sub-devices: programs named for one run, with the values they would have on the whole chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from pytest_ttbringup.emulation.install import _COMMANDS

if TYPE_CHECKING:
    import ttnn


def _cores(start: int, end: int) -> ttnn.CoreRange:
    """Four rows of these columns."""
    import ttnn

    return ttnn.CoreRange(ttnn.CoreCoord(start, 0), ttnn.CoreCoord(end, 3))


@pytest.fixture
def two_sub_devices(device: ttnn.MeshDevice) -> Iterator[ttnn.MeshDevice]:
    import ttnn

    halves = [ttnn.SubDevice([ttnn.CoreRangeSet({_cores(*half)})]) for half in ((0, 3), (4, 7))]
    manager = device.create_sub_device_manager(halves, 3200)
    device.load_sub_device_manager(manager)
    yield device
    device.clear_loaded_sub_device_manager()
    device.remove_sub_device_manager(manager)


@pytest.mark.parametrize("number", [0, 1])
def test_an_operation_on_one(two_sub_devices: ttnn.MeshDevice, number: int) -> None:
    import ttnn

    two_sub_devices.set_sub_device_stall_group([ttnn.SubDeviceId(number)])
    ones = ttnn.ones([32, 32], device=two_sub_devices, layout=ttnn.TILE_LAYOUT)
    total = ttnn.add(ones, ones, sub_device_id=ttnn.SubDeviceId(number))
    ttnn.synchronize_device(two_sub_devices, sub_device_ids=[ttnn.SubDeviceId(number)])
    assert torch.equal(ttnn.to_torch(total), torch.full((32, 32), 2.0, dtype=torch.bfloat16))


def test_one_that_is_not_there(two_sub_devices: ttnn.MeshDevice) -> None:
    import ttnn

    ones = ttnn.ones([32, 32], device=two_sub_devices, layout=ttnn.TILE_LAYOUT)
    for call in (
        lambda: ttnn.add(ones, ones, sub_device_id=ttnn.SubDeviceId(2)),
        lambda: two_sub_devices.set_sub_device_stall_group([ttnn.SubDeviceId(2)]),
        lambda: ttnn.synchronize_device(two_sub_devices, sub_device_ids=[ttnn.SubDeviceId(2)]),
    ):
        with pytest.raises(RuntimeError, match=r"SubDeviceId\(2\) is out of range: .* has 2 sub-devices"):
            call()


def test_an_event_of_one(two_sub_devices: ttnn.MeshDevice) -> None:
    import ttnn

    event = ttnn.record_event(two_sub_devices, 0, [ttnn.SubDeviceId(1)])
    ttnn.event_synchronize(event)
    with pytest.raises(RuntimeError, match=r"SubDeviceId\(2\) is out of range"):
        ttnn.record_event(two_sub_devices, 0, [ttnn.SubDeviceId(2)])


def test_what_is_loaded_can_not_be_removed_nor_what_was_removed_loaded(device: ttnn.MeshDevice) -> None:
    import ttnn

    manager = device.create_sub_device_manager([ttnn.SubDevice([ttnn.CoreRangeSet({_cores(0, 7)})])], 3200)
    device.load_sub_device_manager(sub_device_manager_id=manager)
    with pytest.raises(RuntimeError, match=r"is loaded\. Call MeshDevice\.clear_loaded_sub_device_manager"):
        device.remove_sub_device_manager(manager)
    device.clear_loaded_sub_device_manager()
    device.remove_sub_device_manager(manager)
    with pytest.raises(RuntimeError, match="is no sub-device manager"):
        device.load_sub_device_manager(manager)


def test_the_cores_of_one_queue_are_not_those_of_the_other(device: ttnn.MeshDevice) -> None:
    """Which queue runs programs is not watched where there are several sub-devices; a load starts anew."""
    import ttnn

    queues = _COMMANDS.queues
    queues.command("neg", 0, device.id(), reads=[], writes=[], program=True)
    with pytest.raises(RuntimeError, match="currently in use by cq 0"):
        queues.check_owner(1, device.id())
    manager = device.create_sub_device_manager([ttnn.SubDevice([ttnn.CoreRangeSet({_cores(0, 3)})])], 3200)
    device.load_sub_device_manager(manager)
    queues.check_owner(1, device.id())
    device.clear_loaded_sub_device_manager()
    device.remove_sub_device_manager(manager)


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
def test_a_trace_belongs_to_the_manager_of_its_capture(device: ttnn.MeshDevice) -> None:
    import ttnn

    manager = device.create_sub_device_manager([ttnn.SubDevice([ttnn.CoreRangeSet({_cores(0, 7)})])], 3200)
    ones = ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)
    ttnn.neg(ones)
    trace = ttnn.begin_trace_capture(device)
    out = ttnn.neg(ones)
    ttnn.end_trace_capture(device, trace)
    device.load_sub_device_manager(manager)
    with pytest.raises(RuntimeError, match=r"must exist on mesh device \d+'s active sub-device manager"):
        ttnn.execute_trace(device, trace)
    device.clear_loaded_sub_device_manager()
    ttnn.execute_trace(device, trace)
    assert float(ttnn.to_torch(out).max()) == -1.0
    second = ttnn.begin_trace_capture(device)
    with pytest.raises(RuntimeError, match=r"load_sub_device_manager in .* Cannot reset worker state during trace"):
        device.load_sub_device_manager(manager)
    ttnn.end_trace_capture(device, second)
    device.remove_sub_device_manager(manager)


def test_none_are_left_afterwards(device: ttnn.MeshDevice) -> None:
    import ttnn

    ones = ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)
    with pytest.raises(RuntimeError, match="SubDevice"):
        ttnn.add(ones, ones, sub_device_id=ttnn.SubDeviceId(1))
