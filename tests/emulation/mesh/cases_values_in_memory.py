"""Peak memory on a mesh and its submeshes, each of which has an allocator of its own. Run on a T3000.

The last of the files: a mesh that was used together with submeshes stays open, and no other can be opened then.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation.install import _MEMORY, end_test

TILE_BYTES = 2048


def tensor(mesh: ttnn.MeshDevice, tiles: int, kind: Any = ttnn.DRAM_MEMORY_CONFIG, mapper: Any = None) -> ttnn.Tensor:
    values = torch.ones(tiles, 1, 32, 32)
    host = ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, mesh_mapper=mapper)
    return ttnn.to_device(host, mesh, memory_config=kind)


def used(mesh: ttnn.MeshDevice, kind: Any) -> int:
    return int(ttnn.get_memory_view(mesh, kind).total_bytes_allocated_per_bank)


def test_a_chips_use_is_that_of_its_part(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.DRAM)
    _MEMORY.meter.start(mesh_device)
    shards = ttnn.ShardTensorToMesh(mesh_device, dim=0)
    held = [tensor(mesh_device, 8 * 12, mapper=shards), tensor(mesh_device, 24)]  # of each chip 12 tiles, and 24
    (dram, _) = _MEMORY.meter.stop(mesh_device)
    assert dram.peak == base + 3 * TILE_BYTES
    del held


def test_an_all_gather_counts(mesh_device: ttnn.MeshDevice) -> None:
    x = tensor(mesh_device, 8 * 64, ttnn.L1_MEMORY_CONFIG, ttnn.ShardTensorToMesh(mesh_device, dim=0))
    x = ttnn.reshape(x, (1, 1, 64 * 32, 32))
    gathering = {"dim": 3, "cluster_axis": 1, "memory_config": ttnn.L1_MEMORY_CONFIG}
    ttnn.deallocate(ttnn.all_gather(x, **gathering))  # compiled, with its semaphores
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.L1)
    _MEMORY.meter.start(mesh_device)
    gathered = ttnn.all_gather(x, **gathering)
    (_, l1) = _MEMORY.meter.stop(mesh_device)
    assert abs(l1.buffers - base - 4 * TILE_BYTES) < TILE_BYTES // 4  # semaphores of programs come and go
    assert l1.peak > l1.buffers
    del gathered


def test_submeshes_are_measured_each(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    before, *_ = mesh_device.create_submeshes(ttnn.MeshShape(1, 4))
    held = [tensor(before, 12)]
    _MEMORY.meter.start(mesh_device)
    one, other = mesh_device.create_submeshes(ttnn.MeshShape(2, 2))
    inner = other.create_submesh(ttnn.MeshShape(1, 1))
    held += [tensor(one, 24), tensor(inner, 64, ttnn.L1_MEMORY_CONFIG)]
    ttnn.deallocate(ttnn.neg(held[1]))
    ttnn.deallocate(ttnn.exp(held[2]))
    _, found = end_test(mesh_device)
    peaks = {it["device"]: it for it in found}
    base = used(mesh_device, ttnn.BufferType.DRAM)
    assert peaks[mesh_device.id()]["dram"]["peak"] == base
    assert {before.id(), one.id(), inner.id(), mesh_device.id()} <= peaks.keys()
    assert other.id() not in peaks
    assert peaks[before.id()]["dram"]["peak"] == TILE_BYTES
    assert peaks[one.id()]["dram"]["peak"] == 4 * TILE_BYTES
    assert peaks[one.id()]["l1"]["peak"] > peaks[one.id()]["l1"]["buffers"] == 0
    assert peaks[inner.id()]["l1"]["peak"] > peaks[inner.id()]["l1"]["buffers"] == 2 * TILE_BYTES
    assert peaks[inner.id()]["l1"]["banks"] == peaks[mesh_device.id()]["l1"]["banks"]


def test_what_died_on_a_submesh_is_forgotten_at_the_end_of_a_test(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    end_test(mesh_device)
    (submesh,) = mesh_device.create_submeshes(ttnn.MeshShape(2, 4))
    before = _MEMORY.bytes_held()
    tensor(submesh, 64)
    assert _MEMORY.bytes_held() > before
    end_test(mesh_device)
    assert _MEMORY.bytes_held() == before


@pytest.mark.parametrize("how", ["all_gather", "all_reduce", "reduce_scatter", "mesh_partition"])
def test_rows_that_get_the_same_from_a_collective_hold_it_once(mesh_device: ttnn.MeshDevice, how: str) -> None:
    split = {"all_gather": 3, "all_reduce": 3}.get(how)
    x = ttnn.from_torch(
        torch.randn(1, 1, 128, 4 * 128),
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        mesh_mapper=ttnn.ShardTensor2dMesh(mesh_device, dims=(None, split), mesh_shape=(2, 4)),
    )
    before = _MEMORY.bytes_held()
    along = {"cluster_axis": 1} | ({} if how == "all_reduce" else {"dim": 3})
    made = getattr(ttnn, how)(x, **along)
    distinct = 4 if how in ("reduce_scatter", "mesh_partition") else 1
    assert _MEMORY.bytes_held() - before == 4 * made.logical_volume() * distinct
    ttnn.deallocate(made)
    assert _MEMORY.bytes_held() == before
