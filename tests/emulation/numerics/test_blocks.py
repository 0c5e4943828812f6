"""Into which blocks of the inner size a matmul is cut, and how its kernel is configured by itself: TT-NN's tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation.numerics.blocks import inner_block
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig, matmul_default

BLOCKS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b", "fp32": "float32"}


def block(mesh_device: ttnn.MeshDevice, rows: int, inner: int, columns: int, **how: Any) -> int:
    """In tiles, of operands in DRAM unless `memory` says otherwise."""
    memory = how.pop("memory", ttnn.DRAM_MEMORY_CONFIG)
    a, b, out = (
        ttnn.from_torch(
            torch.zeros(shape), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device, memory_config=memory
        )
        for shape in ((rows, inner), (inner, columns), (rows, columns))
    )
    length = inner_block(a, b, out, shape=(rows, inner, columns), batched=how.pop("batched", False), **how)
    assert length % 32 == 0
    return length // 32


def test_two_tiles_where_a_side_is_narrow(mesh_device: ttnn.MeshDevice) -> None:
    assert block(mesh_device, 32, 512, 256) == 2  # one row of tiles
    assert block(mesh_device, 32, 480, 256) == 1  # fifteen tiles are not even
    assert block(mesh_device, 64, 1024, 640) == 2  # ten times as wide as high: no share of four tiles


def test_a_column_of_cores_has_its_share_of_dram(mesh_device: ttnn.MeshDevice) -> None:
    across = mesh_device.compute_with_storage_grid_size().x
    assert block(mesh_device, 256, 32 * 2 * across, 256) == 2
    assert block(mesh_device, 256, 32 * 4 * across, 256) == 4
    assert block(mesh_device, 256, 32 * (across + 1), 256) == 1
    assert block(mesh_device, 256, 32 * 4 * across, 256, memory=ttnn.L1_MEMORY_CONFIG) == 2


def test_a_core_grid_of_the_callers(mesh_device: ttnn.MeshDevice) -> None:
    grid = ttnn.CoreGrid(x=4, y=2)
    assert block(mesh_device, 32, 512, 256, core_grid=grid) == 2  # sixteen tiles for eight cores
    assert block(mesh_device, 256, 512, 256, core_grid=grid) == 4  # in 2D at most four
    assert block(mesh_device, 256, 96, 256, core_grid=grid) == 3  # that divide the inner size
    assert block(mesh_device, 256, 512, 256, core_grid=grid, batched=True) == 1


def test_a_program_config_of_the_callers(mesh_device: ttnn.MeshDevice) -> None:
    config = ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
        compute_with_storage_grid_size=(2, 2),
        in0_block_w=5,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=1,
        per_core_N=1,
        transpose_mcast=False,
        fused_activation=None,
    )
    assert block(mesh_device, 64, 320, 64, program_config=config) == 5


def kind(name: str) -> ttnn.DataType:
    return getattr(ttnn, BLOCKS[name])


@pytest.mark.parametrize(
    ("a", "b", "out", "expected"),
    [
        ("bf16", "bf16", "bf16", (2, False)),
        ("bf16", "bfp8", "bf16", (2, False)),
        ("bfp8", "bf16", "bfp8", (2, False)),
        ("bfp8", "bfp4", "bf16", (1, False)),
        ("bf16", "bf16", "fp32", (2, True)),
        ("fp32", "fp32", "fp32", (3, True)),
        ("fp32", "fp32", "bf16", (3, False)),
        ("fp32", "bf16", "bf16", (2, False)),
    ],
)
def test_a_matmuls_own_config(a: str, b: str, out: str, expected: tuple[int, bool]) -> None:
    phases, fp32 = expected
    how = {"wormhole": True, "chosen_by_caller": False}
    assert matmul_default(kind(a), kind(b), kind(out), **how) == KernelConfig(phases, fp32, l1_accumulation=not fp32)


def test_what_else_a_matmuls_own_config_depends_on() -> None:
    bf16, fp32 = ttnn.bfloat16, ttnn.float32
    assert matmul_default(bf16, bf16, bf16, wormhole=True, chosen_by_caller=True).phases == 1
    assert matmul_default(fp32, fp32, fp32, wormhole=False, chosen_by_caller=False).phases == 4
    assert matmul_default(fp32, fp32, fp32, wormhole=True, chosen_by_caller=True).phases == 3
