"""A copy of some cores' shards writes the elements that lie on these cores, and no others."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError


def cores(*corners: tuple[int, int, int, int]) -> ttnn.CoreRangeSet:
    """Ranges of cores, each from (x, y) to (x, y)."""
    return ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(a, b), ttnn.CoreCoord(c, d)) for a, b, c, d in corners})


def sharded(kind: str, grid: ttnn.CoreRangeSet, shape: tuple[int, int], *, rows: bool = True) -> ttnn.MemoryConfig:
    orientation = ttnn.ShardOrientation.ROW_MAJOR if rows else ttnn.ShardOrientation.COL_MAJOR
    layout = getattr(ttnn.TensorMemoryLayout, f"{kind}_SHARDED")
    return ttnn.MemoryConfig(layout, ttnn.BufferType.L1, ttnn.ShardSpec(grid, shape, orientation))


CASES = {
    "height": ("HEIGHT", (0, 0, 1, 1), (32, 64), True, (1, 0), (slice(32, 64), slice(None))),
    "height, by columns": ("HEIGHT", (0, 0, 1, 1), (32, 64), False, (1, 0), (slice(64, 96), slice(None))),
    "width": ("WIDTH", (0, 0, 1, 0), (128, 32), True, (1, 0), (slice(None), slice(32, 64))),
    "block": ("BLOCK", (0, 0, 1, 3), (32, 32), True, (1, 2), (slice(64, 96), slice(32, 64))),
    "block, transposed": ("BLOCK", (0, 0, 3, 1), (32, 32), False, (2, 1), (slice(64, 96), slice(32, 64))),
}


@pytest.mark.parametrize("name", CASES)
def test_one_core(mesh_device: ttnn.MeshDevice, name: str) -> None:
    kind, grid, shape, rows, (x, y), where = CASES[name]
    config = sharded(kind, cores(grid), shape, rows=rows)
    before, values = torch.zeros(2, 64, 64), torch.randn(2, 64, 64).bfloat16().float()
    target = ttnn.from_torch(before, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device, memory_config=config)
    host = ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    ttnn.copy_host_to_device_tensor_partial(host, target, cores((x, y, x, y)))
    expected = before.reshape(128, 64).clone()
    expected[where] = values.reshape(128, 64)[where]
    assert torch.equal(ttnn.to_torch(target).float().reshape(128, 64), expected)
    ttnn.copy_host_to_device_tensor_partial(host, target, ttnn.CoreRangeSet([]))
    assert torch.equal(ttnn.to_torch(target).float().reshape(128, 64), expected)
    ttnn.copy_host_to_device_tensor_partial(host, target, cores(grid))
    assert torch.equal(ttnn.to_torch(target).float(), values)


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
def test_in_a_capture(mesh_device: ttnn.MeshDevice) -> None:
    config = sharded("HEIGHT", cores((0, 0, 0, 0)), (32, 32))
    host = ttnn.from_torch(torch.ones(32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    target = ttnn.to_device(host, mesh_device, memory_config=config)
    trace = ttnn.begin_trace_capture(mesh_device)
    with pytest.raises(EmulationError, match=r"copy_host_to_device_tensor_partial in the capture .*Writes are not"):
        ttnn.copy_host_to_device_tensor_partial(host, target, cores((0, 0, 0, 0)))
    ttnn.end_trace_capture(mesh_device, trace)
