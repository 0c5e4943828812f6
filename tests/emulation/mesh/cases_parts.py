"""Operations on tensors that lie on some chips of an open 2x4 mesh. Run on a T3000."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError

from .chips import parts, random

ROW = [(0, 0), (0, 1), (0, 2), (0, 3)]

FABRIC = pytest.mark.parametrize("device_params", [{"fabric_config": ttnn.FabricConfig.FABRIC_1D}], indirect=True)
TRACE = pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)


def in_first_row(values: torch.Tensor, mesh: ttnn.MeshDevice, **options: Any) -> ttnn.Tensor:
    """Sharded along the last dimension over the four chips of the first row only."""
    config = ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementShard(3)], ttnn.MeshShape(1, 4))
    mapper = ttnn.create_mesh_mapper(mesh, config)
    return ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper, **options)


def chips(tensor: ttnn.Tensor) -> list[tuple[int, ...]]:
    return [tuple(coordinate) for coordinate in tensor.device_coords()]


def joined(tensor: ttnn.Tensor) -> torch.Tensor:
    return torch.cat(parts(tensor), dim=-1)


def used(mesh: ttnn.MeshDevice) -> int:
    return int(ttnn.get_memory_view(mesh, ttnn.BufferType.DRAM).total_bytes_allocated_per_bank)


def test_operations_stay_on_their_inputs_chips(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 128)
    placed = in_first_row(values, mesh_device)
    doubled = ttnn.add(placed, placed)
    assert chips(doubled) == ROW
    assert tuple(doubled.tensor_topology().distribution_shape()) == (1, 4)
    assert torch.equal(joined(doubled), values + values)
    assert not torch.equal(joined(doubled), values)
    composer = ttnn.ConcatMesh2dToTensor(mesh_device, dims=(0, 3), mesh_shape=(1, 4))
    assert torch.equal(ttnn.to_torch(doubled, mesh_composer=composer), values + values)
    config = ttnn.create_sharded_memory_config((32, 32), ttnn.CoreGrid(y=1, x=1), ttnn.ShardStrategy.HEIGHT)
    sharded = ttnn.to_memory_config(doubled, config)
    assert sharded.memory_config().buffer_type == ttnn.BufferType.L1
    assert torch.equal(joined(sharded), values + values)


def test_views_outputs_and_freed_inputs_have_the_buffers_they_should(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 128)
    placed, output = in_first_row(values, mesh_device), in_first_row(values, mesh_device)
    assert ttnn.reshape(placed, (1, 32, 32)).buffer_unique_id() == placed.buffer_unique_id()
    ttnn.multiply(placed, 2.0, output_tensor=output)
    assert torch.equal(joined(output), values * 2)
    before = used(mesh_device)
    moved = ttnn.move(output)
    assert not output.is_allocated()
    assert used(mesh_device) == before
    assert torch.equal(torch.cat(parts(moved)[:4], dim=-1), values * 2)


def test_one_chips_part_meets_a_whole_tensor(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    mapper = ttnn.ShardTensorToMesh(mesh_device, dim=3)
    placed = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=mapper)
    part = ttnn.get_device_tensors(placed)[6]
    total = ttnn.add(part, placed)
    assert chips(total) == [(1, 2)]
    assert torch.equal(ttnn.to_torch(total), values[..., 384:448] * 2)


@FABRIC
def test_collectives_run_among_the_chips_that_have_a_part(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 128)
    placed = in_first_row(values, mesh_device)
    gathered = ttnn.all_gather(placed, dim=3, cluster_axis=1)
    assert chips(gathered) == ROW
    assert all(torch.equal(part, values) for part in parts(gathered))
    for number, sent in enumerate(ttnn.all_broadcast(placed, cluster_axis=1)):
        assert all(torch.equal(part, values[..., 32 * number : 32 * number + 32]) for part in parts(sent))


@TRACE
def test_a_trace_replays_them_and_refuses_new_programs(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 128)
    placed = in_first_row(values, mesh_device)
    before = mesh_device.num_program_cache_entries()
    for _ in range(2):
        ttnn.add(placed, placed)
    assert mesh_device.num_program_cache_entries() == before + 1
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    doubled = ttnn.add(placed, placed)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.copy_host_to_device_tensor(in_first_row(values * 3, mesh_device).cpu(), placed)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert torch.equal(joined(doubled), values * 3 + values * 3)
    ttnn.release_trace(mesh_device, trace)
    other = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    with pytest.raises(EmulationError, match="not yet in the program cache"):
        ttnn.subtract(placed, placed)
    ttnn.end_trace_capture(mesh_device, other, cq_id=0)
    mesh_device.clear_program_cache()
    assert mesh_device.num_program_cache_entries() == 0


def test_what_tt_nn_refuses_is_refused(mesh_device: ttnn.MeshDevice) -> None:
    placed = in_first_row(random(1, 1, 32, 128), mesh_device)
    with pytest.raises(RuntimeError, match="TT_FATAL"):
        ttnn.matmul(placed, in_first_row(random(1, 1, 64, 128), mesh_device))
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        with pytest.raises(EmulationError, match="while a graph is captured"):
            ttnn.add(placed, placed)
    finally:
        ttnn.graph.end_graph_capture()
