"""Attention whose keys or queries the chips of a mesh share out, one legal call each. Run on a T3000."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.comparison.metrics import pcc
from pytest_ttbringup.emulation import EmulationError

from .chips import fp32_parts, on_columns, random, semaphores

CHIPS = 8
LINE = pytest.mark.parametrize("mesh_device", [CHIPS], indirect=True)


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    heads = q.shape[1] // k.shape[1]
    k, v = (it.float().repeat_interleave(heads, dim=1) for it in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(q.float(), k, v, is_causal=True)


@LINE
@pytest.mark.parametrize("ring_id", [None, 1])
def test_ring_distributed_attention(mesh_device: ttnn.MeshDevice, ring_id: int | None) -> None:
    q, k, v = random(1, 4, 512, 64), random(1, 2, 512, 64, seed=1), random(1, 2, 512, 64, seed=2)
    output = ttnn.transformer.ring_distributed_scaled_dot_product_attention(
        *(on_columns(it, mesh_device, None) for it in (q, k, v)),
        ring_size=CHIPS,
        **({} if ring_id is None else {"ring_id": ring_id}),
        program_config=ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32),
    )
    chunks = causal(q, k, v).chunk(2 * CHIPS, dim=2)
    for chip, part in enumerate(fp32_parts(output)):
        place_in_ring = chip if ring_id is None else ring_id
        assert pcc(part, torch.cat([chunks[place_in_ring], chunks[-1 - place_in_ring]], dim=2)) > 0.9999
        assert pcc(part, torch.cat([chunks[place_in_ring - 1], chunks[-place_in_ring]], dim=2)) < 0.5


@LINE
@pytest.mark.parametrize("scale", [None, 0.05])
def test_ring_joint_attention(mesh_device: ttnn.MeshDevice, scale: float | None) -> None:
    q, k, v = (random(1, 8, 512, 64, seed=seed) for seed in range(3))
    joint = [random(1, 8, 32, 64, seed=seed) for seed in range(3, 6)]

    def attend(**options: Any) -> list[ttnn.Tensor]:
        return ttnn.transformer.ring_joint_scaled_dot_product_attention(
            *(on_columns(it, mesh_device, 2) for it in (q, k, v)),
            *(on_columns(it, mesh_device, None) for it in joint),
            persistent_output_buffer_k=on_columns(torch.zeros_like(k), mesh_device, None),
            persistent_output_buffer_v=on_columns(torch.zeros_like(v), mesh_device, None),
            joint_strategy="rear",
            logical_n=512,
            program_config=ttnn.SDPAProgramConfig(
                compute_with_storage_grid_size=(7, 8), q_chunk_size=32, k_chunk_size=32
            ),
            scale=scale,
            dim=2,
            multi_device_global_semaphore=semaphores(mesh_device, 2),
            num_links=1,
            cluster_axis=1,
            mesh_device=mesh_device,
            topology=ttnn.Topology.Linear,
            ccl_core_grid_offset=ttnn.CoreCoord(7, 0),
            use_column_major_ccl=True,
            **options,
        )

    output, joint_output, _ = attend()
    rows = [torch.cat([one, other], dim=2).float() for one, other in zip((q, k, v), joint, strict=True)]
    expected = torch.nn.functional.scaled_dot_product_attention(*rows, scale=scale)
    assert pcc(torch.cat(fp32_parts(output), dim=2), expected[:, :, :512]) > 0.999
    assert all(pcc(part, expected[:, :, 512:]) > 0.999 for part in fp32_parts(joint_output))
    alone = torch.nn.functional.scaled_dot_product_attention(*(it.float()[:, :, :64] for it in (q, k, v)))
    assert pcc(fp32_parts(output)[0], alone) < 0.9  # a chip's own keys only
    with pytest.raises(EmulationError, match="is_balanced=True is not emulated"):
        attend(is_balanced=True)


@pytest.mark.parametrize("mesh_device", [4], indirect=True)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_reduce_to_root(mesh_device: ttnn.MeshDevice, scale: float) -> None:
    """Attention over keys that four chips share out, of which each computed its part."""
    scores, values = torch.randn(4, 8, 8, 16) * 3, torch.randn(4, 8, 16, 128)  # chips, cores, rows (outputs), keys
    most = scores.amax(dim=-1, keepdim=True)
    weights = ((scores - most) * scale).exp()
    states = (weights @ values, weights.sum(dim=-1, keepdim=True).expand(-1, -1, -1, 32), most.expand(-1, -1, -1, 32))

    def placed(state: torch.Tensor) -> ttnn.Tensor:
        flat = state.transpose(1, 2).flatten(2).flatten(0, 1)  # [chips * rows, cores * w]
        config = ttnn.create_sharded_memory_config(
            (8, state.shape[-1]),
            core_grid=ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 7))}),
            strategy=ttnn.ShardStrategy.WIDTH,
            use_height_and_width_as_shard_shape=True,
        )
        return on_columns(flat, mesh_device, 0, tile=ttnn.Tile((8, 32)), memory_config=config)

    outputs = ttnn.reduce_to_root(*map(placed, states), ttnn.MeshCoordinate(0, 1), scale_fp32=scale)
    everything = torch.softmax(
        scale * scores.permute(1, 2, 0, 3).flatten(2), dim=-1
    )  # [cores, rows, keys of all chips]
    expected = (everything @ values.transpose(0, 1).flatten(1, 2)).transpose(0, 1).flatten(1)
    got = fp32_parts(outputs[0])
    assert pcc(got[1], expected) > 0.999
    assert all(got[chip].isnan().all() for chip in (0, 2, 3))
    assert pcc(fp32_parts(placed(states[0]))[1], expected) < 0.9
