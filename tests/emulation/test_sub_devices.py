"""Sub-devices: programs named for one run, with the values they would have on the whole chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    import ttnn


@pytest.fixture
def two_sub_devices(device: ttnn.MeshDevice) -> Iterator[ttnn.MeshDevice]:
    import ttnn

    def cores(start: int, end: int) -> ttnn.SubDevice:
        area = ttnn.CoreRange(ttnn.CoreCoord(start, 0), ttnn.CoreCoord(end, 3))
        return ttnn.SubDevice([ttnn.CoreRangeSet({area})])

    manager = device.create_sub_device_manager([cores(0, 3), cores(4, 7)], 3200)
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


def test_none_are_left_afterwards(device: ttnn.MeshDevice) -> None:
    import ttnn

    ones = ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)
    with pytest.raises(RuntimeError, match="SubDevice"):
        ttnn.add(ones, ones, sub_device_id=ttnn.SubDeviceId(1))
