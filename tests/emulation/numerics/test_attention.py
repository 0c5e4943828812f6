"""Attention and rotary embedding against Tenstorrent's simulator running the kernels of the same ttnn release.

`data/prefill_attention.safetensors` holds two query heads of one K/V head over 64 tokens; `../data/decode_attention`
the intermediates of a decode step of four users.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import ttnn
from safetensors.torch import load_file

from .conftest import Compute

DATA = Path(__file__).parent / "data"
PREFILL = load_file(DATA / "prefill_attention.safetensors")
DECODE = load_file(DATA.parents[1] / "data" / "decode_attention.safetensors")
SCALE = 64**-0.5


def place(values: torch.Tensor, mesh_device: ttnn.MeshDevice, dtype: ttnn.DataType, **how: object) -> ttnn.Tensor:
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=mesh_device, **how)


def config(mesh_device: ttnn.MeshDevice, fidelity: str, fp32: bool) -> ttnn.DeviceComputeKernelConfig:
    return ttnn.init_device_compute_kernel_config(
        mesh_device.arch(), math_fidelity=getattr(ttnn.MathFidelity, fidelity), fp32_dest_acc_en=fp32
    )


def differing(result: ttnn.Tensor, expected: torch.Tensor) -> float:
    return (ttnn.to_torch(result).float() != expected.float()).float().mean().item()


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize(
    ("case", "fidelity", "fp32", "most"), [("hifi2.acc0", "HiFi2", False, 0.0), ("hifi4.acc1", "HiFi4", True, 0.01)]
)
def test_prefill(
    compute: Compute, mesh_device: ttnn.MeshDevice, numerics: str, case: str, fidelity: str, fp32: bool, most: float
) -> None:
    compute(numerics)
    q, k, v = (place(PREFILL[name], mesh_device, ttnn.bfloat16) for name in "qkv")
    out = ttnn.transformer.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=SCALE, compute_kernel_config=config(mesh_device, fidelity, fp32)
    )
    assert differing(out, PREFILL[f"sdpa.{case}"]) <= most


def decode(mesh_device: ttnn.MeshDevice, positions: list[int], **options: object) -> ttnn.Tensor:
    q = place(DECODE["rope.q"], mesh_device, ttnn.bfloat16)
    k, v = (place(DECODE[name], mesh_device, ttnn.bfloat8_b) for name in ("k_cache", "v_cache"))
    return ttnn.transformer.scaled_dot_product_attention_decode(
        q,
        k,
        v,
        cur_pos_tensor=ttnn.from_torch(torch.tensor(positions, dtype=torch.int32), device=mesh_device),
        scale=SCALE,
        compute_kernel_config=config(mesh_device, "HiFi2", False),
        **options,
    )


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
def test_decode(compute: Compute, mesh_device: ttnn.MeshDevice, numerics: str) -> None:
    compute(numerics)
    positions = DECODE["positions"].tolist()
    assert differing(decode(mesh_device, positions), DECODE["sdpa"]) == 0.0
    compute("exact")
    assert differing(decode(mesh_device, positions), DECODE["sdpa"]) > 0.5


def test_chunks_and_windows_stay_close(compute: Compute, mesh_device: ttnn.MeshDevice) -> None:
    """A window that begins beyond the first chunk of keys, and a user who is skipped."""
    positions = [60, 47, -1, 63]
    results = {}
    for numerics in ("exact", "device"):
        compute(numerics)
        chunks = ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32, exp_approx_mode=False
        )
        results[numerics] = ttnn.to_torch(
            decode(mesh_device, positions, sliding_window_size=16, program_config=chunks)
        ).double()[0]
    assert results["device"][2].isnan().all()
    seen = [0, 1, 3]
    exact, device = results["exact"][seen], results["device"][seen]
    assert 0.002 < ((exact - device).norm() / exact.norm()).item() < 0.05


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize("name", ["q", "k"])
def test_rotary(compute: Compute, mesh_device: ttnn.MeshDevice, name: str, numerics: str) -> None:
    compute(numerics)
    users = DECODE["rope.q"].shape[1]
    cores = ttnn.num_cores_to_corerangeset(users, mesh_device.compute_with_storage_grid_size(), row_wise=True)
    rows, tiles = (
        ttnn.create_sharded_memory_config(
            (32, width), cores, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
        )
        for width in (64, 32)
    )
    x, cos, sin = (
        place(DECODE[key], mesh_device, ttnn.bfloat16, memory_config=rows) for key in (f"heads.{name}", "cos", "sin")
    )
    turn = place(DECODE["transformation"].repeat(1, 1, users, 1), mesh_device, ttnn.bfloat16, memory_config=tiles)
    how = {"is_decode_mode": True}
    wide = ttnn.experimental.rotary_embedding_llama(
        x, cos, sin, turn, compute_kernel_config=config(mesh_device, "HiFi4", True), **how
    )
    assert differing(wide, DECODE[f"rope.{name}"]) == 0.0
    # by itself TT-NN takes BF16 destinations, which round the product of each phase
    narrow = config(mesh_device, "HiFi4", False)
    chosen = ttnn.experimental.rotary_embedding_llama(x, cos, sin, turn, **how)
    same = ttnn.experimental.rotary_embedding_llama(x, cos, sin, turn, compute_kernel_config=narrow, **how)
    assert differing(chosen, ttnn.to_torch(same)) == 0.0
    assert differing(chosen, DECODE[f"rope.{name}"]) > 0.1
