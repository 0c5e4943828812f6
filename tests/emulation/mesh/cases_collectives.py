"""What chips hold after they exchanged their parts, along each axis of a T3000's 2x4 mesh and over all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError
from pytest_ttbringup.emulation.collectives import chip_groups
from pytest_ttbringup.emulation.install import _MEMORY

from .chips import parts, semaphores

ROWS, COLS = 2, 4
CHIPS = ROWS * COLS

Expected = Callable[[torch.Tensor, int], torch.Tensor]
"""The parts of a group [N, …] and a chip's place in it -> what that chip holds then, with a leading 1."""


@pytest.fixture
def values() -> torch.Tensor:
    """[8, 1, 64, 256]: what the chips hold, row by row."""
    return torch.randn(CHIPS, 1, 64, 256, generator=torch.Generator().manual_seed(5)).bfloat16()


def place(values: torch.Tensor, mesh: ttnn.MeshDevice, layout: Any = ttnn.TILE_LAYOUT) -> ttnn.Tensor:
    return ttnn.from_torch(values, layout=layout, device=mesh, mesh_mapper=ttnn.ShardTensorToMesh(mesh, dim=0))


def wrong_chips(output: ttnn.Tensor, values: torch.Tensor, axis: int | None, expected: Expected) -> list[int]:
    """The chips, numbered row by row, that hold anything else."""
    got, wrong = parts(output), []
    for group in chip_groups((ROWS, COLS), axis):
        numbers = [row * COLS + col for row, col in group]
        wrong += [n for i, n in enumerate(numbers) if not torch.equal(got[n], expected(values[numbers], i))]
    return wrong


def gathered(dim: int) -> Expected:
    return lambda group, _: torch.cat(list(group[:, None]), dim=dim)


def total(group: torch.Tensor, _: int) -> torch.Tensor:
    return group.float().sum(dim=0, keepdim=True).bfloat16()


def scattered(dim: int) -> Expected:
    return lambda group, place: total(group, 0).chunk(len(group), dim=dim)[place]


def all_gather_async(tensor: ttnn.Tensor, axis: int | None, mesh: ttnn.MeshDevice, dim: int) -> ttnn.Tensor:
    return ttnn.experimental.all_gather_async(
        tensor,
        persistent_output_buffer=None,
        dim=dim,
        multi_device_global_semaphore=semaphores(mesh, 2),
        cluster_axis=axis,
        topology=ttnn.Topology.Linear,
        num_links=1,
    )


def all_gather_async_positional(tensor: ttnn.Tensor, axis: int, mesh: ttnn.MeshDevice, dim: int) -> ttnn.Tensor:
    return ttnn.experimental.all_gather_async(tensor, dim, axis, mesh, ttnn.Topology.Linear, semaphores(mesh, 2))


def reduce_scatter_async(tensor: ttnn.Tensor, axis: int | None, mesh: ttnn.MeshDevice, dim: int) -> ttnn.Tensor:
    return ttnn.experimental.reduce_scatter_minimal_async(
        tensor,
        persistent_output_buffers=None,
        dim=dim,
        multi_device_global_semaphore=semaphores(mesh, 3),
        barrier_semaphore=semaphores(mesh, 1)[0],
        num_links=1,
        topology=ttnn.Topology.Linear,
        cluster_axis=axis,
    )


def all_reduce_async(tensor: ttnn.Tensor, axis: int, mesh: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.experimental.all_reduce_async(
        tensor,
        cluster_axis=axis,
        mesh_device=mesh,
        barrier_semaphores=semaphores(mesh, 2),
        rs_global_semaphores=semaphores(mesh, 3),
        ag_global_semaphores=semaphores(mesh, 2),
        math_op=ttnn.ReduceType.Sum,
        topology=ttnn.Topology.Linear,
        num_links=1,
    )


AXES = pytest.mark.parametrize("axis", [0, 1])


@AXES
@pytest.mark.parametrize("dim", [0, 2, 3])
@pytest.mark.parametrize(
    "gather",
    [
        lambda tensor, axis, _, dim: ttnn.all_gather(tensor, dim=dim, cluster_axis=axis),
        all_gather_async,
        all_gather_async_positional,
    ],
    ids=["all_gather", "all_gather_async", "all_gather_async by position"],
)
def test_gathering(mesh_device: ttnn.MeshDevice, values: torch.Tensor, gather: Any, axis: int, dim: int) -> None:
    output = gather(place(values, mesh_device), axis, mesh_device, dim)
    assert wrong_chips(output, values, axis, gathered(dim)) == []
    other_group = wrong_chips(output, values, 1 - axis, gathered(dim))
    assert sorted(other_group) == list(range(CHIPS))  # the comparison tells the axes apart
    assert len({id(held) for held in _MEMORY.read(output).values()}) == (COLS if axis == 0 else ROWS)


@AXES
@pytest.mark.parametrize(
    "reduce",
    [lambda tensor, axis, _: ttnn.all_reduce(tensor, cluster_axis=axis), all_reduce_async],
    ids=["all_reduce", "all_reduce_async"],
)
def test_summing(mesh_device: ttnn.MeshDevice, values: torch.Tensor, reduce: Any, axis: int) -> None:
    output = reduce(place(values, mesh_device), axis, mesh_device)
    assert wrong_chips(output, values, axis, total) == []


@AXES
def test_the_chips_parts_are_joined_in_the_order_of_the_mesh(
    mesh_device: ttnn.MeshDevice, values: torch.Tensor, axis: int
) -> None:
    """However the groups of a collective ran through it: read as a whole, a tensor is its parts in a row."""
    composer = ttnn.ConcatMeshToTensor(mesh_device, dim=0)
    placed, line = place(values, mesh_device), (ttnn.MeshCoordinate(0, 1), ttnn.MeshCoordinate(1 - axis, 1 + axis))
    outputs = {
        "reduced": ttnn.all_reduce(placed, cluster_axis=axis),
        "scattered": ttnn.reduce_scatter(placed, dim=3, cluster_axis=axis),
        "sent": ttnn.point_to_point(placed, *line, output_tensor=place(values.flip(0), mesh_device)),
    }
    for name, output in outputs.items():
        joined = ttnn.to_torch(output, mesh_composer=composer)
        assert torch.equal(joined, torch.cat(parts(output))), name
        assert not torch.equal(joined, torch.cat(parts(output)[::-1])), name


def test_a_missing_all_reduce_is_seen(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    assert wrong_chips(place(values, mesh_device), values, 1, total) == list(range(CHIPS))


@AXES
@pytest.mark.parametrize(
    "scatter",
    [
        lambda tensor, axis, _, dim: ttnn.reduce_scatter(tensor, dim=dim, cluster_axis=axis),
        reduce_scatter_async,
    ],
    ids=["reduce_scatter", "reduce_scatter_minimal_async"],
)
def test_scattering_sums(mesh_device: ttnn.MeshDevice, values: torch.Tensor, scatter: Any, axis: int) -> None:
    output = scatter(place(values, mesh_device), axis, mesh_device, 3)
    assert wrong_chips(output, values, axis, scattered(3)) == []


@AXES
def test_mesh_partition_undoes_a_gather(mesh_device: ttnn.MeshDevice, values: torch.Tensor, axis: int) -> None:
    everything = ttnn.all_gather(place(values, mesh_device), dim=3, cluster_axis=axis)
    own = ttnn.mesh_partition(everything, dim=3, cluster_axis=axis)
    assert wrong_chips(own, values, axis, lambda group, place: group[place : place + 1]) == []


@AXES
def test_reversed_gather(mesh_device: ttnn.MeshDevice, values: torch.Tensor, axis: int) -> None:
    output = ttnn.experimental.all_gather_async_reversed(
        place(values, mesh_device),
        dim=3,
        multi_device_global_semaphore=semaphores(mesh_device, 2),
        cluster_axis=axis,
        topology=ttnn.Topology.Linear,
        num_links=1,
    )
    assert wrong_chips(output, values, axis, lambda group, _: gathered(3)(group.flip(0), 0)) == []


@AXES
def test_all_to_all(mesh_device: ttnn.MeshDevice, axis: int) -> None:
    values = torch.randn(CHIPS, 1, 128, 128).bfloat16()
    output = ttnn.experimental.all_to_all_async_generic(
        place(values, mesh_device), in_dim=2, out_dim=3, cluster_axis=axis, topology=ttnn.Topology.Linear, num_links=1
    )
    expected: Expected = lambda group, place: gathered(2)(group.chunk(len(group), dim=3)[place], 0)  # noqa: E731
    assert wrong_chips(output, values, axis, expected) == []


@AXES
def test_all_broadcast(mesh_device: ttnn.MeshDevice, values: torch.Tensor, axis: int) -> None:
    outputs = ttnn.all_broadcast(place(values, mesh_device), cluster_axis=axis)
    assert len(outputs) == (ROWS, COLS)[axis]
    for sender, output in enumerate(outputs):
        assert wrong_chips(output, values, axis, lambda group, _, i=sender: group[i : i + 1]) == []


def test_broadcast_reaches_the_senders_row_only(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    output = parts(ttnn.broadcast(place(values, mesh_device), ttnn.MeshCoordinate(1, 2), cluster_axis=1))
    assert all(torch.equal(part, values[6:7]) for part in output[4:])
    assert all(part.isnan().all() for part in output[:4])


def test_broadcast_of_replicas_reaches_the_senders_row_only(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    """Groups of chips that hold the same have the same results, but not where their places matter."""
    replicas = ttnn.from_torch(
        values[:1], layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=ttnn.ReplicateTensorToMesh(mesh_device)
    )
    output = parts(ttnn.broadcast(replicas, ttnn.MeshCoordinate(1, 2), cluster_axis=1))
    assert all(torch.equal(part, values[:1]) for part in output[4:])
    assert all(part.isnan().all() for part in output[:4])


def test_point_to_point(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    target = place(torch.zeros_like(values), mesh_device)
    sender, receiver = ttnn.MeshCoordinate(0, 1), ttnn.MeshCoordinate(0, 3)
    before = mesh_device.num_program_cache_entries()
    for _ in range(2):
        ttnn.point_to_point(place(values, mesh_device), sender, receiver, output_tensor=target)
    assert mesh_device.num_program_cache_entries() == before + 1
    output = parts(target)
    assert torch.equal(output[3], values[1:2])
    assert not any(part.any() for part in output[:3] + output[4:])
    fresh = parts(ttnn.point_to_point(place(values, mesh_device), sender, receiver))
    assert torch.equal(fresh[3], values[1:2])
    assert fresh[0].isnan().all()
    with pytest.raises(RuntimeError, match="invalid for 1D fabric"):
        ttnn.point_to_point(place(values, mesh_device), sender, ttnn.MeshCoordinate(1, 3))
    with pytest.raises(RuntimeError, match="must contain receiver coordinate"):
        ttnn.point_to_point(place(values, mesh_device), sender, ttnn.MeshCoordinate(2, 1))
    with pytest.raises(RuntimeError, match="must contain sender coordinate"):
        ttnn.point_to_point(place(values, mesh_device), ttnn.MeshCoordinate(0, 4), receiver)
    with pytest.raises(RuntimeError, match=r"output token tensor spec .*Shape\(\[1, 1, 64, 128\]\)"):
        ttnn.point_to_point(
            place(values, mesh_device), sender, receiver, output_tensor=place(values[..., :128], mesh_device)
        )


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
def test_point_to_point_in_a_trace(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    placed, target = place(values, mesh_device), place(torch.zeros_like(values), mesh_device)
    sender, receiver = ttnn.MeshCoordinate(0, 1), ttnn.MeshCoordinate(1, 1)
    ttnn.add(placed, placed)  # compiled
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    with pytest.raises(EmulationError, match=r"ttnn.point_to_point in the capture .*not yet in the program cache"):
        ttnn.point_to_point(placed, sender, receiver, output_tensor=target)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.point_to_point(placed, sender, receiver, output_tensor=place(values, mesh_device))
    ttnn.point_to_point(placed, sender, receiver)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    ttnn.point_to_point(placed, sender, receiver, output_tensor=target)
    fresh = ttnn.point_to_point(ttnn.add(placed, placed), sender, receiver)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    assert not torch.cat(parts(target)).any()  # a capture computes nothing
    with pytest.raises(EmulationError, match="has not been executed"):
        ttnn.to_torch(ttnn.get_device_tensors(fresh)[5])
    for number in (1, -2):
        host = ttnn.from_torch(
            number * values, layout=ttnn.TILE_LAYOUT, mesh_mapper=ttnn.ShardTensorToMesh(mesh_device, dim=0)
        )
        ttnn.copy_host_to_device_tensor(host, placed)
        ttnn.execute_trace(mesh_device, trace, blocking=True)
        assert torch.equal(parts(target)[5], number * values[1:2])
        assert torch.equal(parts(fresh)[5], 2 * number * values[1:2])
        assert not any(part.any() for part in parts(target)[:5] + parts(target)[6:])
    ttnn.release_trace(mesh_device, trace)


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 22}], indirect=True)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_traced_step_follows_its_inputs(mesh_device: ttnn.MeshDevice, values: torch.Tensor, axis: int) -> None:
    """A step of several collectives, whose replay is what the same calls give eagerly."""
    placed = place(values, mesh_device)
    weights = ttnn.from_torch(
        torch.randn(1, 1, 256, 64).bfloat16(),
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        mesh_mapper=ttnn.ReplicateTensorToMesh(mesh_device),
    )
    counter = ttnn.from_torch(
        torch.zeros(1, 32, dtype=torch.int32), device=mesh_device, mesh_mapper=ttnn.ReplicateTensorToMesh(mesh_device)
    )

    def step() -> ttnn.Tensor:
        partial = ttnn.linear(placed, weights)
        total = ttnn.all_reduce(partial, cluster_axis=axis)
        ttnn.deallocate(partial)
        pieces = ttnn.reduce_scatter(ttnn.all_gather(total, dim=2, cluster_axis=1 - axis), dim=2, cluster_axis=1 - axis)
        ttnn.plus_one(counter)
        return ttnn.add(pieces, 1.0)

    step()
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    replayed = step()
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    seen = []
    for scale in (1.0, -0.5):
        host = ttnn.from_torch(
            scale * values, layout=ttnn.TILE_LAYOUT, mesh_mapper=ttnn.ShardTensorToMesh(mesh_device, dim=0)
        )
        ttnn.copy_host_to_device_tensor(host, placed)
        ttnn.execute_trace(mesh_device, trace, blocking=False)
        seen.append(parts(replayed))
        eager = step()
        assert all(torch.equal(one, other) for one, other in zip(seen[-1], parts(eager), strict=True))
        ttnn.deallocate(eager)
    assert not any(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert all(part.unique().tolist() == [5] for part in parts(counter))
    ttnn.release_trace(mesh_device, trace)


def test_a_stale_replica_is_seen(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    """After a send into one chip's replica the others hold the old values, and gathering says which chip differs."""
    from pytest_ttbringup.fixtures.tensors import gathered as joined

    replicas, others = (
        ttnn.from_torch(
            it, layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=ttnn.ReplicateTensorToMesh(mesh_device)
        )
        for it in values[:2].split(1)
    )
    assert torch.equal(joined(replicas), values[:1])
    ttnn.point_to_point(others, ttnn.MeshCoordinate(1, 1), ttnn.MeshCoordinate(1, 2), output_tensor=replicas)
    with pytest.raises(AssertionError, match=r"chip \(1, 2\) holds other values than chip \(0, 0\)"):
        joined(replicas)


def test_1d_fabric_needs_an_axis_on_a_2d_mesh(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    with pytest.raises(RuntimeError, match="1D fabric on a 2D mesh_device requires cluster_axis to be set"):
        ttnn.all_gather(place(values, mesh_device), dim=3)


@pytest.mark.parametrize("device_params", [{"fabric_config": None}], indirect=True)
def test_without_a_fabric_nothing_is_exchanged(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    with pytest.raises(EmulationError, match=r"ttnn.all_gather: chips can't exchange anything, the fabric is off"):
        ttnn.all_gather(place(values, mesh_device), dim=3, cluster_axis=1)
    with pytest.raises(EmulationError, match=r"ttnn.point_to_point: chips can't exchange anything, the fabric is off"):
        ttnn.point_to_point(place(values, mesh_device), ttnn.MeshCoordinate(0, 1), ttnn.MeshCoordinate(0, 3))


@pytest.mark.parametrize("device_params", [{"fabric_config": ttnn.FabricConfig.FABRIC_2D}], indirect=True)
def test_the_whole_mesh_on_a_2d_fabric(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    placed = place(values, mesh_device)
    assert wrong_chips(ttnn.all_gather(placed, dim=3), values, None, gathered(3)) == []
    assert wrong_chips(ttnn.all_reduce(placed), values, None, total) == []
    assert wrong_chips(ttnn.reduce_scatter(placed, dim=3), values, None, scattered(3)) == []
    assert wrong_chips(all_gather_async(placed, None, mesh_device, 2), values, None, gathered(2)) == []


def test_block_formats_are_summed_unpacked_and_rounded_once(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    placed = ttnn.from_torch(
        values,
        dtype=ttnn.bfloat8_b,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        mesh_mapper=ttnn.ShardTensorToMesh(mesh_device, dim=0),
    )
    held = torch.cat(parts(placed)).float()
    output = torch.cat(parts(ttnn.all_reduce(placed, cluster_axis=1))[:1]).float()
    exact = held[:4].sum(dim=0, keepdim=True)
    assert (output - exact).abs().max() <= 2**-7 * exact.abs().max()
    assert not torch.equal(output, exact)


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
def test_a_collective_in_a_trace(mesh_device: ttnn.MeshDevice, values: torch.Tensor) -> None:
    placed = place(values, mesh_device)
    ttnn.all_gather(placed, dim=3, cluster_axis=1)  # compiles it
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    gathered_tensor = ttnn.all_gather(placed, dim=3, cluster_axis=1)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.execute_trace(mesh_device, trace, blocking=True)
    assert wrong_chips(gathered_tensor, values, 1, gathered(3)) == []
    host = ttnn.from_torch(-values, layout=ttnn.TILE_LAYOUT, mesh_mapper=ttnn.ShardTensorToMesh(mesh_device, dim=0))
    ttnn.copy_host_to_device_tensor(host, placed)
    ttnn.execute_trace(mesh_device, trace, blocking=True)
    assert wrong_chips(gathered_tensor, -values, 1, gathered(3)) == []
    ttnn.release_trace(mesh_device, trace)
