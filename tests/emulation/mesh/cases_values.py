"""What each chip of a mesh holds: mappers, composers, parts, submeshes, reshaped meshes, printing. Run on a T3000."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError
from pytest_ttbringup.emulation.install import _MEMORY

from ..sweeping import sweep
from .chips import parts, random

ROWS, COLS = 2, 4


def place(values: torch.Tensor, mapper: Any, device: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=device, mesh_mapper=mapper)


def held(tensor: ttnn.Tensor) -> int:
    """How many different torch tensors the chips' parts are."""
    return len({id(values) for values in _MEMORY.read(tensor).values()})


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
@pytest.mark.parametrize("name", ["uint16", "uint32", "float32"])
def test_integers_are_cast_by_chip(mesh_device: ttnn.MeshDevice, name: str) -> None:
    dtype = getattr(ttnn, name)
    values = torch.arange(8 * 32 * 32, dtype=torch.int32).reshape(8, 1, 32, 32)
    shards = ttnn.ShardTensorToMesh(mesh_device, dim=0)
    placed = ttnn.from_torch(values, dtype=ttnn.int32, layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=shards)
    eager = ttnn.typecast(placed, dtype)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    replayed = ttnn.typecast(placed, dtype)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    for cast in (eager, replayed):
        assert torch.equal(torch.cat(parts(cast)).long(), values.long())
    ttnn.release_trace(mesh_device, trace)


def test_seeds_are_a_chips_own(mesh_device: ttnn.MeshDevice) -> None:
    """One seed gives one draw on whichever chip, whatever seeds the others have, and another seed another."""
    shards, replicas = ttnn.ShardTensorToMesh(mesh_device, dim=0), ttnn.ReplicateTensorToMesh(mesh_device)
    users = torch.arange(32)

    def placed(values: torch.Tensor, dtype: ttnn.DataType, mapper: Any = replicas) -> ttnn.Tensor:
        return ttnn.from_torch(values, dtype=dtype, device=mesh_device, mesh_mapper=mapper)

    values = place(random(1, 1, 32, 32), replicas, mesh_device)
    indices = placed(torch.arange(32).expand(1, 1, 32, 32), ttnn.int32)
    k, p, temperature = (placed(torch.full((32,), it), ttnn.bfloat16) for it in (32.0, 1.0, 1.0))
    k = placed(torch.full((32,), 32), ttnn.uint32)
    own = torch.stack([users + 1000 * (chip // 2) for chip in range(ROWS * COLS)])  # two neighbours have the same
    ttnn.manual_seed(placed(own.flatten(), ttnn.uint32, shards), user_ids=placed(users, ttnn.uint32))
    drawn = parts(ttnn.sampling(values, indices, k=k, p=p, temp=temperature))
    for chip in range(0, ROWS * COLS, 2):
        assert torch.equal(drawn[chip], drawn[chip + 1])
        assert not torch.equal(drawn[chip], drawn[chip - 1])


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
@pytest.mark.parametrize("axis", [0, 1])
def test_routing_weights_are_shared_out(mesh_device: ttnn.MeshDevice, axis: int) -> None:
    """The same on all chips before, of which each keeps its own part, at once and in a trace."""
    chips = (ROWS, COLS)[axis]
    weights = torch.zeros(1, 32)
    weights[0, [2, 4, 10, 13, 14, 18, 22, 24]] = torch.arange(1.0, 9.0)
    replicas = ttnn.ReplicateTensorToMesh(mesh_device)
    placed = ttnn.from_torch(weights, dtype=ttnn.bfloat16, device=mesh_device, mesh_mapper=replicas)
    eager = ttnn.moe_routing_remap(placed, 8, chips, axis)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    replayed = ttnn.moe_routing_remap(placed, 8, chips, axis)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    share = 8 // chips
    for result in (eager, replayed):
        for number, part in enumerate(parts(result)):
            first = 1 + share * divmod(number, COLS)[axis]
            assert torch.equal(part.float(), weights * ((weights >= first) & (weights < first + share)))
    ttnn.release_trace(mesh_device, trace)


@pytest.mark.parametrize("mapped", [True, False], ids=["replicated", "no mapper"])
def test_replicas_are_held_once(mesh_device: ttnn.MeshDevice, mapped: bool) -> None:
    mapper = ttnn.ReplicateTensorToMesh(mesh_device) if mapped else None
    values = random(1, 1, 32, 64)
    sweep(mesh_device)
    before = _MEMORY.bytes_held()
    placed = place(values, mapper, mesh_device)
    assert held(placed) == 1
    assert _MEMORY.bytes_held() - before == 4 * values.numel()
    assert all(torch.equal(part, values) for part in parts(placed))
    assert held(ttnn.add(placed, 1.0)) == 1


def test_zero_and_minus_zero_are_not_the_same(mesh_device: ttnn.MeshDevice) -> None:
    values = torch.zeros(8, 1, 32, 32, dtype=torch.bfloat16)
    values[3, 0, 7, 7] = -0.0
    placed = parts(place(values, ttnn.ShardTensorToMesh(mesh_device, dim=0), mesh_device))
    assert placed[3].signbit().sum() == 1
    assert not any(part.signbit().any() for part in placed[:3] + placed[4:])


def test_shards_along_one_dimension(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    placed = place(values, ttnn.ShardTensorToMesh(mesh_device, dim=3), mesh_device)
    assert all(torch.equal(one, other) for one, other in zip(parts(placed), values.chunk(8, dim=3), strict=True))
    joined = ttnn.to_torch(placed, mesh_composer=ttnn.ConcatMeshToTensor(mesh_device, dim=3))
    assert torch.equal(joined, values)
    wrong = ttnn.to_torch(placed, mesh_composer=ttnn.ConcatMeshToTensor(mesh_device, dim=2))
    assert wrong.shape == (1, 1, 256, 64)


def test_shards_along_two_dimensions(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 64, 512)
    placed = place(values, ttnn.ShardTensor2dMesh(mesh_device, dims=(2, 3), mesh_shape=(ROWS, COLS)), mesh_device)
    assert torch.equal(parts(placed)[5], values[:, :, 32:, 128:256])
    composer = ttnn.ConcatMesh2dToTensor(mesh_device, dims=(2, 3), mesh_shape=(ROWS, COLS))
    assert torch.equal(ttnn.to_torch(placed, mesh_composer=composer), values)
    assert torch.equal(ttnn.to_torch(placed.cpu(), mesh_composer=composer), values)
    turned = ttnn.ConcatMesh2dToTensor(mesh_device, dims=(3, 2), mesh_shape=(ROWS, COLS))
    assert not torch.equal(ttnn.to_torch(placed, mesh_composer=turned).reshape(values.shape), values)


def test_sharded_along_one_axis_and_replicated_along_the_other(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    config = ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementShard(3)], ttnn.MeshShape(ROWS, COLS))
    placed = place(values, ttnn.create_mesh_mapper(mesh_device, config), mesh_device)
    assert held(placed) == COLS
    composer = ttnn.create_mesh_composer(mesh_device, ttnn.MeshComposerConfig([0, 3], ttnn.MeshShape(ROWS, COLS)))
    assert torch.equal(ttnn.to_torch(placed, mesh_composer=composer), torch.cat([values, values]))


def test_a_tensor_on_a_corner_of_the_mesh(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 64, 128)
    config = ttnn.MeshMapperConfig([ttnn.PlacementShard(2), ttnn.PlacementShard(3)], ttnn.MeshShape(2, 2))
    placed = place(values, ttnn.create_mesh_mapper(mesh_device, config), mesh_device)
    assert torch.equal(ttnn.to_torch(ttnn.get_device_tensors(placed.cpu())[3]), values[..., 32:, 64:])
    assert torch.equal(ttnn.to_torch(ttnn.get_device_tensors(ttnn.add(placed, placed))[3]), values[..., 32:, 64:] * 2)


def test_topology_survives_the_way_to_the_host(mesh_device: ttnn.MeshDevice) -> None:
    placed = place(random(1, 1, 32, 512), ttnn.ShardTensorToMesh(mesh_device, dim=3), mesh_device)
    assert str(placed.cpu().tensor_topology().placements()) == str(placed.tensor_topology().placements())


def test_distribute_and_aggregate(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    host = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT)
    placed = ttnn.distribute_tensor(host, ttnn.shard_tensor_to_mesh_mapper(mesh_device, 3), mesh_device)
    joined = ttnn.aggregate_tensor(placed, ttnn.concat_mesh_to_tensor_composer(mesh_device, 3))
    assert torch.equal(ttnn.to_torch(joined), values)


def test_a_host_tensor_of_many_shards_is_written_where_it_is(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    placed = place(values, ttnn.ShardTensorToMesh(mesh_device, dim=3), mesh_device)
    host = ttnn.allocate_tensor_on_host(placed.spec, mesh_device)
    ttnn.copy_device_to_host_tensor(placed, host)
    assert all(torch.equal(one, other) for one, other in zip(parts(host), values.chunk(8, dim=3), strict=True))
    with pytest.raises(EmulationError, match="spread over another number of chips"):
        ttnn.copy_device_to_host_tensor(placed, ttnn.from_torch(values[..., :64], layout=ttnn.TILE_LAYOUT))


def test_parts_are_combined_again(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    placed = place(values, ttnn.ShardTensorToMesh(mesh_device, dim=3), mesh_device)
    again = ttnn.combine_device_tensors(tensors=ttnn.get_device_tensors(placed))
    composer = ttnn.ConcatMeshToTensor(mesh_device, dim=3)
    assert torch.equal(ttnn.to_torch(again, mesh_composer=composer), values)
    host = ttnn.from_host_shards(ttnn.get_device_tensors(placed.cpu()), mesh_device.shape)
    assert torch.equal(ttnn.to_torch(ttnn.to_device(host, mesh_device), mesh_composer=composer), values)


def test_a_mesh_tensor_is_not_read_without_a_composer(mesh_device: ttnn.MeshDevice) -> None:
    placed = place(random(1, 1, 32, 64), ttnn.ReplicateTensorToMesh(mesh_device), mesh_device)
    with pytest.raises(RuntimeError, match="Supply a mesh composer"):
        ttnn.to_torch(placed)


def test_submeshes_have_their_own_coordinates(mesh_device: ttnn.MeshDevice) -> None:
    row = mesh_device.create_submesh(ttnn.MeshShape(1, 4), ttnn.MeshCoordinate(1, 0))
    values = random(1, 1, 32, 256)
    placed = place(values, ttnn.ShardTensorToMesh(row, dim=3), row)
    assert list(_MEMORY.read(placed)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    gathered = ttnn.all_gather(placed, dim=3, cluster_axis=1)
    assert all(torch.equal(part, values) for part in parts(gathered))


def test_submeshes_do_not_see_each_other(mesh_device: ttnn.MeshDevice) -> None:
    columns = mesh_device.create_submeshes(ttnn.MeshShape(2, 1))
    placed = [place(torch.full((1, 1, 32, 32), float(n)).bfloat16(), None, mesh) for n, mesh in enumerate(columns)]
    assert len({tensor.buffer_address() for tensor in placed}) == 1
    for number, tensor in enumerate(placed):
        assert all((part == number + 1).all() for part in parts(ttnn.add(tensor, 1.0)))


def test_a_capture_stops_the_chips_of_its_mesh_and_no_others(mesh_device: ttnn.MeshDevice) -> None:
    def ones(mesh: ttnn.MeshDevice) -> ttnn.Tensor:
        return place(torch.ones(1, 1, 32, 32).bfloat16(), ttnn.ReplicateTensorToMesh(mesh), mesh)

    one, other = mesh_device.create_submeshes(ttnn.MeshShape(1, 4))
    x, y, whole = ones(one), ones(other), ones(mesh_device)
    for tensor in (x, y, whole):
        ttnn.neg(tensor)
    trace, beside = ttnn.begin_trace_capture(one), ttnn.begin_trace_capture(other)
    out, second = ttnn.neg(x), ttnn.neg(y)
    ttnn.end_trace_capture(other, beside)
    ttnn.execute_trace(other, beside)
    assert all((part == -1).all() for part in parts(ttnn.neg(ttnn.neg(second))))
    with pytest.raises(EmulationError, match=r"queue 0 of mesh device \d+ is already being used for tracing trace"):
        ttnn.begin_trace_capture(mesh_device)
    for call in (lambda: ttnn.neg(whole), lambda: ones(mesh_device)):
        with pytest.raises(
            EmulationError, match=rf"it is on queue 0 of mesh device {mesh_device.id()}, and the capture"
        ):
            call()
    ttnn.end_trace_capture(one, trace)
    with pytest.raises(EmulationError, match="is incomplete"):
        ttnn.execute_trace(one, trace)
    del out


def test_a_sub_device_manager_belongs_to_its_mesh(mesh_device: ttnn.MeshDevice) -> None:
    one, other = mesh_device.create_submeshes(ttnn.MeshShape(1, 4))
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 3))})
    manager = one.create_sub_device_manager([ttnn.SubDevice([cores])], 3200)
    with pytest.raises(RuntimeError, match="no sub-device manager of mesh device"):
        other.load_sub_device_manager(manager)
    one.load_sub_device_manager(manager)
    one.clear_loaded_sub_device_manager()
    one.remove_sub_device_manager(manager)


def test_a_reshaped_mesh(mesh_device: ttnn.MeshDevice) -> None:
    values = random(1, 1, 32, 512)
    mesh_device.reshape(ttnn.MeshShape(1, 8))
    try:
        placed = place(values, ttnn.ShardTensorToMesh(mesh_device, dim=3), mesh_device)
        doubled = ttnn.add(placed, placed)
        assert list(_MEMORY.read(placed))[5] == (0, 5)
        gathered = ttnn.all_gather(placed, dim=3, cluster_axis=1)
        assert torch.equal(parts(gathered)[7], values)
    finally:
        mesh_device.reshape(ttnn.MeshShape(ROWS, COLS))
    joined = ttnn.to_torch(doubled, mesh_composer=ttnn.ConcatMeshToTensor(mesh_device, dim=3))
    assert torch.equal(joined, 2 * values)


def test_printing(mesh_device: ttnn.MeshDevice) -> None:
    values = torch.arange(8).reshape(8, 1, 1, 1).expand(8, 1, 32, 32).bfloat16()
    text = repr(place(values, ttnn.ShardTensorToMesh(mesh_device, dim=0), mesh_device))
    assert " 7.0000" in text
    assert " 8.0000" not in text


def test_in_place_updates_part_what_was_shared(mesh_device: ttnn.MeshDevice) -> None:
    cache = place(torch.zeros(1, 1, 64, 32).bfloat16(), ttnn.ReplicateTensorToMesh(mesh_device), mesh_device)
    rows = place(random(8, 1, 32, 32), ttnn.ShardTensorToMesh(mesh_device, dim=0), mesh_device)
    ttnn.fill_cache(cache, rows, 0)
    for part, row in zip(parts(cache), parts(rows), strict=True):
        assert torch.equal(part[:, :, :32], row)
        assert not part[:, :, 32:].any()


@pytest.mark.parametrize("mesh_device", [(2, 4)], indirect=True)
def test_one_chips_part_through_a_composer_of_the_mesh(mesh_device: ttnn.MeshDevice) -> None:
    x = random(1, 1, 32, 256)
    placed = place(x, ttnn.ShardTensor2dMesh(mesh_device, dims=(None, 3), mesh_shape=(ROWS, COLS)), mesh_device)
    composer = ttnn.ConcatMeshToTensor(mesh_device, dim=-1)
    for chip, part in enumerate(ttnn.get_device_tensors(placed)):
        columns = slice(64 * (chip % 4), 64 * (chip % 4) + 64)
        assert torch.equal(ttnn.to_torch(part, mesh_composer=composer), x[..., columns])
    assert ttnn.to_torch(placed, mesh_composer=composer).shape[-1] == 8 * 64


@pytest.mark.parametrize("form", ["padding", "padded shape"])
def test_each_chip_pads_its_own(mesh_device: ttnn.MeshDevice, form: str) -> None:
    """TT-NN's preparation of the golden function wants the values of a tensor that no composer puts together."""
    values = random(8, 1, 32, 96)
    placed = place(values, ttnn.ShardTensorToMesh(mesh_device, dim=0), mesh_device)
    how = ([(0, 0), (0, 0), (0, 0), (0, 32)],) if form == "padding" else ([1, 1, 32, 128], [0, 0, 0, 0])
    for part, own in zip(parts(ttnn.pad(placed, *how, float("-inf"))), values.split(1), strict=True):
        assert torch.equal(part[..., :96].float(), own.float())
        assert torch.isneginf(part[..., 96:]).all()
