"""Matmuls on the emulated device against Tenstorrent's simulator running the kernels of the same ttnn release.

`data/matmul.safetensors` holds two rows and sixteen columns of products of K=256, inputs and outputs, for pairs of
formats, each fidelity, both accumulations, and with and without L1 accumulation.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import ttnn
from safetensors.torch import load_file

from .conftest import Compute

FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b", "fp32": "float32"}
VECTORS = load_file(Path(__file__).parent / "data" / "matmul.safetensors")
CASES = sorted(VECTORS.keys() - {"a", "b"})


@pytest.fixture
def product(mesh_device: ttnn.MeshDevice):
    def product(case: str, **options: object) -> torch.Tensor:
        a, b, fidelity, fp32, in_l1 = case.split(".")
        x, y = (
            ttnn.from_torch(
                VECTORS[name], dtype=getattr(ttnn, FORMATS[form]), layout=ttnn.TILE_LAYOUT, device=mesh_device
            )
            for name, form in (("a", a), ("b", b))
        )
        config = ttnn.init_device_compute_kernel_config(
            mesh_device.arch(),
            math_fidelity=getattr(ttnn.MathFidelity, fidelity),
            fp32_dest_acc_en=fp32 == "acc1",
            packer_l1_acc=in_l1 == "l11",
        )
        return ttnn.to_torch(ttnn.matmul(x, y, **{"compute_kernel_config": config} | options)).float()

    return product


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
def test_bit_for_bit(compute: Compute, product, numerics: str) -> None:
    compute(numerics)
    wrong = {case: int((product(case) != VECTORS[case].float()).sum()) for case in CASES}
    assert len(CASES) == 72
    assert not {case: count for case, count in wrong.items() if count}


def test_exact_is_another_arithmetic(compute: Compute, product) -> None:
    compute("exact")
    case = "bf16.bf16.HiFi2.acc0.l10"
    assert (product(case) != VECTORS[case].float()).sum() > 16


@pytest.mark.parametrize(
    ("formats", "as_if"),
    [("bf16.bf16", "HiFi2.acc0.l11"), ("bf16.bfp8", "HiFi2.acc0.l11"), ("bfp8.bfp8", "LoFi.acc0.l11")],
)
def test_what_tt_nn_chooses_by_itself(compute: Compute, product, formats: str, as_if: str) -> None:
    compute("bitexact")
    chosen = product(f"{formats}.HiFi4.acc1.l10", compute_kernel_config=None)
    assert torch.equal(chosen, VECTORS[f"{formats}.{as_if}"].float())


def test_fp32_operands_choose_hifi3_and_fp32_destinations(compute: Compute, product) -> None:
    compute("bitexact")
    chosen = product("fp32.fp32.LoFi.acc1.l10", compute_kernel_config=None)
    assert torch.equal(chosen, VECTORS["fp32.fp32.HiFi3.acc1.l10"])


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
def test_shapes(compute: Compute, mesh_device: ttnn.MeshDevice, numerics: str) -> None:
    """Batches, broadcast weights, transposition, a bias and an inner size that fills no tile, near the true product."""
    compute(numerics)
    generator = torch.Generator().manual_seed(5)

    def made(*shape: int) -> tuple[torch.Tensor, ttnn.Tensor]:
        values = torch.randn(shape, generator=generator).bfloat16().float()
        return values, ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)

    a, x = made(2, 3, 40, 41)
    b, y = made(2, 3, 41, 50)
    one, z = made(1, 1, 41, 50)
    bias, w = made(1, 1, 1, 50)
    turned, v = made(1, 1, 50, 41)
    results = {
        "batches": (ttnn.matmul(x, y), a @ b),
        "one weight": (ttnn.matmul(x, z), a @ one),
        "bias": (ttnn.linear(x, z, bias=w), a @ one + bias),
        "transposed": (ttnn.matmul(x, v, transpose_b=True), a @ turned.mT),
        "activation": (ttnn.linear(x, z, bias=w, activation="relu"), torch.relu(a @ one + bias)),
    }
    for name, (result, true) in results.items():
        error = (ttnn.to_torch(result).double() - true).norm() / true.norm()
        assert 1e-4 < error < 0.02, name


def test_a_lossy_fidelity_shrinks(compute: Compute, mesh_device: ttnn.MeshDevice) -> None:
    compute("device")
    values = torch.full((32, 32), 255 / 128)
    ones = ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    config = ttnn.init_device_compute_kernel_config(
        mesh_device.arch(), math_fidelity=ttnn.MathFidelity.LoFi, fp32_dest_acc_en=True
    )
    result = ttnn.to_torch(ttnn.matmul(ones, ones, compute_kernel_config=config, dtype=ttnn.float32)).float()
    assert result.unique().item() == 32 * (127 / 64) * (31 / 16)
