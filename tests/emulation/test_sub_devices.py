"""Sub-devices: programs named for one run, with the values they would have on the whole chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

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


def test_none_are_left_afterwards(device: ttnn.MeshDevice) -> None:
    import ttnn

    ones = ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)
    with pytest.raises(RuntimeError, match="SubDevice"):
        ttnn.add(ones, ones, sub_device_id=ttnn.SubDeviceId(1))
