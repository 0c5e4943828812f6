"""The collectives that TT-NN's LLM code calls in special places, one legal call each. Run on a T3000.

Those that compute attention are in cases_attention.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.comparison.metrics import pcc

from .chips import fp32_parts, on_columns, random, semaphores

CHIPS = 8
LINE = pytest.mark.parametrize("mesh_device", [CHIPS], indirect=True)
RING = pytest.mark.parametrize("device_params", [{"fabric_config": ttnn.FabricConfig.FABRIC_1D_RING}], indirect=True)


def in_width_shards(cores: int, width: int, rows: int = 32) -> ttnn.MemoryConfig:
    return ttnn.create_sharded_memory_config(
        (rows, width),
        core_grid=ttnn.num_cores_to_corerangeset(cores, ttnn.CoreCoord(8, 8), row_wise=True),
        strategy=ttnn.ShardStrategy.WIDTH,
        use_height_and_width_as_shard_shape=True,
    )


def total(values: torch.Tensor) -> torch.Tensor:
    """[N, …] -> [1, …]: the sum as bfloat16 holds it."""
    return values.float().sum(dim=0, keepdim=True).bfloat16().float()


@LINE
@pytest.mark.parametrize("topology", [ttnn.Topology.Ring, ttnn.Topology.Linear])
def test_strided_all_gather(mesh_device: ttnn.MeshDevice, topology: Any) -> None:
    x = random(1, 1, 32, 512)
    given = on_columns(torch.zeros(x.shape), mesh_device, None)
    output = ttnn.experimental.strided_all_gather_async(
        on_columns(x, mesh_device, 3),
        persistent_output_buffer=given,
        dim=3,
        multi_device_global_semaphore=semaphores(mesh_device, 2),
        num_links=1,
        topology=topology,
        cluster_axis=1,
        mm_cores_y=1,
        mm_block_ht=1,
        mm_block_wt=2,
    )
    assert output.buffer_address() == given.buffer_address()
    assert all(torch.equal(part, x.float()) for part in fp32_parts(given))
    assert not torch.equal(fp32_parts(on_columns(x, mesh_device, 3))[0], x.float())  # what it was given is not that


@LINE
def test_high_bandwidth_all_gather(mesh_device: ttnn.MeshDevice) -> None:
    x = random(3, 1, 256, 64)
    rows = on_columns(x, mesh_device, 2)
    given = on_columns(torch.zeros(x.shape), mesh_device, None)
    ttnn.experimental.high_bw_all_gather(rows, 2, given, cluster_axis=1, num_links=1)
    assert all(torch.equal(part, x.float()) for part in fp32_parts(given))
    one = on_columns(torch.zeros(1, 1, 256, 64), mesh_device, None)
    ttnn.experimental.high_bw_all_gather(
        rows, 2, one, cluster_axis=1, num_links=1, input_batch_index=1, gathered_dim_size=256
    )
    assert all(torch.equal(part, x[1:2].float()) for part in fp32_parts(one))
    assert not any(torch.equal(part, x[:1].float()) for part in fp32_parts(one))


@LINE
def test_ring_attention_all_gather_leaves_the_own_part_out(mesh_device: ttnn.MeshDevice) -> None:
    x = [random(1, 2, 256, 64, seed=seed) for seed in (1, 2)]
    outputs = ttnn.experimental.ring_attention_all_gather_async(
        [on_columns(it, mesh_device, 2) for it in x],
        persistent_output_buffer=[on_columns(torch.full(it.shape, 7.0), mesh_device, None) for it in x],
        dim=2,
        multi_device_global_semaphore=semaphores(mesh_device, 2),
        cluster_axis=1,
        mesh_device=mesh_device,
        num_links=1,
        topology=ttnn.Topology.Linear,
    )
    assert len(outputs) == 2
    for output, values in zip(outputs, x, strict=True):
        for chip, part in enumerate(fp32_parts(output)):
            expected = values.float().clone()
            expected[:, :, 32 * chip : 32 * chip + 32] = 7.0
            assert torch.equal(part, expected)
            assert not torch.equal(part, values.float())


@LINE
@pytest.mark.parametrize("rank", [2, 4])
def test_all_gather_minimal_matmul(mesh_device: ttnn.MeshDevice, rank: int) -> None:
    lead = (1,) * (rank - 2)
    x, weights, bias = random(*lead, 256, 1024), random(*lead, 1024, 256) / 32, random(*lead, 1, 256)
    (output,) = ttnn.experimental.all_gather_minimal_matmul_async(
        on_columns(x, mesh_device, rank - 1),
        on_columns(weights, mesh_device, None),
        bias_tensor=on_columns(bias, mesh_device, None),
        config=ttnn.MinimalMatmulConfig(
            M_block_size=2,
            K_block_size=2,
            N_block_size=2,
            subblock_h=1,
            subblock_w=1,
            compute_with_storage_grid_size=ttnn.CoreCoord(4, 4),
        ),
        persistent_output_buffer=on_columns(torch.zeros_like(x), mesh_device, None),
        multi_device_global_semaphore=semaphores(mesh_device, 2),
        num_links=1,
        topology=ttnn.Topology.Linear,
        cluster_axis=1,
        num_workers_per_link=4,
        num_buffers_per_channel=2,
    )
    expected = x.float() @ weights.float() + bias.float()
    assert all(pcc(part, expected) > 0.9999 for part in fp32_parts(output))
    assert all(pcc(part, expected - bias.float()) < 0.999 for part in fp32_parts(output))


@LINE
@RING
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("buffers", ["none", "own", "staging"])
def test_direct_reduce_scatter(mesh_device: ttnn.MeshDevice, dim: int, buffers: str) -> None:
    x = random(CHIPS, 1, 256, 256)
    placed = on_columns(x, mesh_device, 0)
    given = None
    if buffers == "own":
        given = ttnn.experimental.reduce_scatter_minimal_direct_create_persistent_buffers(placed, dim, cluster_axis=1)
    if buffers == "staging":
        shape = [1, 1, 256, 256]
        shape[dim] //= CHIPS
        staging = ttnn.experimental.reduce_scatter_minimal_direct_create_staging_buffer(placed, dim, cluster_axis=1)
        given = [on_columns(torch.zeros(shape), mesh_device, None), staging]
    output = ttnn.experimental.reduce_scatter_minimal_direct(
        placed, dim, cluster_axis=1, num_links=1, persistent_buffers=given
    )
    assert torch.equal(torch.cat(fp32_parts(output), dim=dim), total(x))
    assert not torch.equal(torch.cat(fp32_parts(output)[::-1], dim=dim), total(x))


@LINE
def test_strided_reduce_scatter(mesh_device: ttnn.MeshDevice) -> None:
    x = random(CHIPS, 1, 256, 2048)
    output = ttnn.experimental.strided_reduce_scatter_async(
        on_columns(x, mesh_device, 0),
        None,
        3,
        semaphores(mesh_device, 3),
        barrier_semaphore=semaphores(mesh_device, 1)[0],
        num_links=1,
        topology=ttnn.Topology.Ring,
        cluster_axis=1,
        num_workers_per_link=1,
        mm_cores_y=1,
        mm_block_ht=4,
        mm_block_wt=2,
        mm_N_full_block_wt=8,
        chunk_width_in_mm_blocks=1,
    )
    assert torch.equal(torch.cat(fp32_parts(output), dim=3), total(x))
    assert not torch.equal(torch.cat(fp32_parts(output), dim=3), total(x[1:]))


@pytest.mark.parametrize("dtype", [ttnn.bfloat8_b, ttnn.bfloat16])
def test_llama_reduce_scatter(mesh_device: ttnn.MeshDevice, dtype: Any) -> None:
    x = random(CHIPS, 1, 32, 3840)
    mapper = ttnn.ShardTensorToMesh(mesh_device, dim=0)
    how = {"dtype": dtype, "layout": ttnn.TILE_LAYOUT, "device": mesh_device, "mesh_mapper": mapper}
    output = ttnn.experimental.llama_reduce_scatter(
        ttnn.from_torch(x, memory_config=in_width_shards(24, 160), **how),
        ttnn.from_torch(torch.zeros(CHIPS, 1, 32, 8 * 512), memory_config=in_width_shards(8, 512), **how),
        3,
        semaphores(mesh_device, 1)[0],
        ttnn.SubDeviceId(0),
        cluster_axis=1,
        mesh_device=mesh_device,
        num_links=1,
        memory_config=in_width_shards(30, 32),
    )
    rows = torch.cat(fp32_parts(output)[:4], dim=3), torch.cat(fp32_parts(output)[4:], dim=3)
    for row, group in zip(rows, x.split(4), strict=True):
        assert pcc(row, total(group)) > 0.9999
        assert pcc(row, total(group[1:])) < 0.95


@LINE
@RING
@pytest.mark.parametrize(("in_dim", "out_dim"), [(2, 3), (3, 2)])
def test_all_to_all(mesh_device: ttnn.MeshDevice, in_dim: int, out_dim: int) -> None:
    x = random(1, 1, 512, 2048)
    shape = list(x.shape)
    shape[out_dim] //= CHIPS
    between, output = (on_columns(torch.zeros(shape), mesh_device, None) for _ in range(2))
    ttnn.experimental.all_to_all_async(
        on_columns(x, mesh_device, in_dim),
        between,
        output,
        in_dim,
        out_dim,
        semaphores(mesh_device, 1)[0],
        num_links=1,
        topology=ttnn.Topology.Ring,
    )
    assert torch.equal(torch.cat(fp32_parts(output), dim=out_dim), x.float())
    assert not torch.equal(torch.cat(fp32_parts(output)[::-1], dim=out_dim), x.float())


def test_fused_rms_norm_over_a_row_of_chips(mesh_device: ttnn.MeshDevice) -> None:
    width = 2048
    x, weight = random(1, 1, 32, width) + 1, random(1, 1, width // 32, 32, seed=4)
    config = in_width_shards(16, 32)
    output = ttnn.fused_rms_minimal(
        on_columns(x, mesh_device, 3, memory_config=config),
        ttnn.LayerNormShardedMultiCoreProgramConfig(
            compute_with_storage_grid_size=(8, 2), subblock_w=1, block_h=1, block_w=1, inplace=False
        ),
        1,
        mesh_device,
        semaphores(mesh_device, 1)[0],
        topology=ttnn.Topology.Linear,
        memory_config=config,
        epsilon=1e-5,
        weight=on_columns(weight, mesh_device, 2, layout=ttnn.ROW_MAJOR_LAYOUT),
        stats=on_columns(torch.zeros(1, 1, 32, 128), mesh_device, None, memory_config=in_width_shards(1, 128)),
    )
    flat = x.float()
    expected = flat * torch.rsqrt(flat.square().mean(dim=-1, keepdim=True) + 1e-5) * weight.float().reshape(-1)
    assert pcc(torch.cat(fp32_parts(output)[:4], dim=-1), expected) > 0.9999
    assert pcc(torch.cat(fp32_parts(output)[:4], dim=-1), flat) < 0.9
