"""Parts of LLM layers spread over a mesh: distributed norms, tensor parallel products, experts. Run on a T3000."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.comparison.metrics import pcc

from .chips import fp32_parts, place, random, semaphores

ROWS, COLS = 2, 4
CHIPS = 8


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_a_norm_over_a_row_of_chips(mesh_device: ttnn.MeshDevice, kind: str) -> None:
    x, weight = random(1, 1, 32, 256) + 1, random(1, 1, 8, 32, seed=4)
    placed = place(x, mesh_device, (None, 3))
    gain = place(weight, mesh_device, (None, 2), layout=ttnn.ROW_MAJOR_LAYOUT)
    before = getattr(ttnn, f"{kind}_norm_pre_all_gather" if kind == "layer" else "rms_norm_pre_all_gather")
    after = getattr(ttnn, f"{kind}_norm_post_all_gather" if kind == "layer" else "rms_norm_post_all_gather")
    stats = before(placed, dtype=ttnn.bfloat16)
    normed = after(placed, ttnn.all_gather(stats, dim=3, cluster_axis=1), epsilon=1e-5, weight=gain)
    flat = x.float()
    if kind == "layer":
        flat = flat - flat.mean(dim=-1, keepdim=True)
    expected = flat * torch.rsqrt(flat.square().mean(dim=-1, keepdim=True) + 1e-5) * weight.float().reshape(-1)
    for row in range(ROWS):
        assert pcc(torch.cat(fp32_parts(normed)[row * COLS : (row + 1) * COLS], dim=-1), expected) > 0.9999
    # Without the exchange each chip norms by its own quarter only.
    alone = after(placed, ttnn.concat([stats] * COLS, dim=3), epsilon=1e-5, weight=gain)
    assert pcc(torch.cat(fp32_parts(alone)[:COLS], dim=-1), expected) < 0.9999


def test_a_tensor_parallel_mlp(mesh_device: ttnn.MeshDevice) -> None:
    """Columns of the first weights and rows of the second on each chip; the sum over chips is the result."""
    x, up, down = random(1, 1, 32, 128), random(1, 1, 128, 512) / 11, random(1, 1, 512, 128, seed=9) / 22
    hidden = ttnn.linear(place(x, mesh_device, (None, None)), place(up, mesh_device, (None, 3)), activation="silu")
    partial = ttnn.linear(hidden, place(down, mesh_device, (None, 2)))
    output = fp32_parts(ttnn.all_reduce(partial, cluster_axis=1))
    expected = torch.nn.functional.silu(x.float() @ up.float()) @ down.float()
    assert all(pcc(part, expected) > 0.9998 for part in output)
    assert all(pcc(part, expected) < 0.9 for part in fp32_parts(partial))  # a missing all_reduce
    wrong = ttnn.linear(hidden, place(down.flip(2), mesh_device, (None, 2)))  # the shards in another order
    assert pcc(fp32_parts(ttnn.all_reduce(wrong, cluster_axis=1))[0], expected) < 0.9


LINE = pytest.mark.parametrize("mesh_device", [8], indirect=True)


@LINE
def test_gather_fused_with_a_product(mesh_device: ttnn.MeshDevice) -> None:
    x, weights = random(1, 1, 256, 2048), random(1, 1, 2048, 512) / 45
    program = ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
        compute_with_storage_grid_size=(8, 4),
        in0_block_w=4,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=2,
        per_core_N=1,
        out_block_h=2,
        out_block_w=1,
        transpose_mcast=False,
        fused_activation=None,
        fuse_batch=False,
    )
    everything, product = ttnn.experimental.all_gather_matmul_async(
        place(x, mesh_device, (None, 3)),
        place(weights, mesh_device, (None, 3)),
        persistent_output_buffer=place(torch.zeros_like(x), mesh_device, (None, None)),
        dim=3,
        multi_device_global_semaphore=semaphores(mesh_device, 2),
        all_gather_core_grid_offset=(0, 6),
        num_links=1,
        memory_config_ag=ttnn.DRAM_MEMORY_CONFIG,
        memory_config_mm=ttnn.DRAM_MEMORY_CONFIG,
        program_config=program,
    )
    assert all(torch.equal(part, x.float()) for part in fp32_parts(everything))
    assert pcc(torch.cat(fp32_parts(product), dim=3), x.float() @ weights.float()) > 0.9999


@LINE
def test_a_product_fused_with_reduce_scatter(mesh_device: ttnn.MeshDevice) -> None:
    x, weights = random(1, 1, 256, 512), random(1, 1, 512, 2048) / 22
    program = ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
        compute_with_storage_grid_size=(8, 6),
        in0_block_w=1,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=2,
        per_core_N=8,
        out_block_h=2,
        out_block_w=8,
        transpose_mcast=False,
        fused_activation=None,
        fuse_batch=False,
    )
    _, piece = ttnn.experimental.matmul_reduce_scatter_async(
        place(x, mesh_device, (None, 3)),
        place(weights, mesh_device, (None, 2)),
        place(torch.zeros(1, 1, 256, 2048), mesh_device, (None, None), dtype=ttnn.bfloat16),
        place(torch.zeros(1, 1, 256, 256), mesh_device, (None, None), dtype=ttnn.bfloat16),
        3,
        semaphores(mesh_device, 3),
        ttnn.CoreCoord(0, 6),
        barrier_semaphore=semaphores(mesh_device, 1)[0],
        num_links=1,
        memory_config_rs=ttnn.DRAM_MEMORY_CONFIG,
        memory_config_mm=ttnn.DRAM_MEMORY_CONFIG,
        program_config=program,
    )
    assert pcc(torch.cat(fp32_parts(piece), dim=3), x.float() @ weights.float()) > 0.9999


@LINE
def test_tokens_go_to_their_experts_and_back(mesh_device: ttnn.MeshDevice) -> None:
    """Two experts per chip; expert e multiplies by e + 1."""
    users, choices, width, experts = 16, 2, 64, 16
    tokens = random(users, 1, 1, width)
    generator = torch.Generator().manual_seed(1)
    chosen = torch.stack([torch.randperm(experts, generator=generator)[:choices] for _ in range(users)])
    mapping = torch.zeros(1, 1, experts, CHIPS, dtype=torch.int32)
    mapping[0, 0, torch.arange(experts), torch.arange(experts) // 2] = 1
    rows = {"layout": ttnn.ROW_MAJOR_LAYOUT}
    holders = place(mapping, mesh_device, (None, None), dtype=ttnn.uint16, **rows)
    sent, metadata = ttnn.all_to_all_dispatch(
        place(tokens, mesh_device, (None, 0), **rows),
        place(chosen.reshape(users, 1, 1, choices).int(), mesh_device, (None, 0), dtype=ttnn.uint16, **rows),
        holders,
        cluster_axis=1,
    )
    factors = (torch.arange(experts) + 1.0).reshape(experts, 1, 1, 1).bfloat16()
    done = ttnn.multiply(
        ttnn.to_layout(ttnn.concat([sent, sent], dim=0), ttnn.TILE_LAYOUT), place(factors, mesh_device, (None, 0))
    )
    back = ttnn.all_to_all_combine(ttnn.to_layout(done, ttnn.ROW_MAJOR_LAYOUT), metadata, holders, cluster_axis=1)
    output = torch.cat(fp32_parts(back), dim=1)
    expected = torch.stack([tokens[:, :, 0].float() * (chosen[:, k] + 1.0).reshape(-1, 1, 1) for k in range(choices)])
    assert torch.equal(output, expected.bfloat16().float())
    unwanted = fp32_parts(sent)[0].isnan().any(dim=-1).flatten()
    assert torch.equal(unwanted, ~(chosen < 2).any(dim=-1))
