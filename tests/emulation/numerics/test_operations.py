"""Norms, softmax, sums and element-wise operations against Tenstorrent's simulator running the kernels of the same ttnn
release, bit for bit.

`data/operations.safetensors` holds four rows of element-wise operands and results, two of norms' and softmax's, and 32
columns of what is summed along rows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import ttnn
from safetensors.torch import load_file

from .conftest import Compute

FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b", "fp32": "float32"}
NAMES = {"sub": "subtract", "mul": "multiply", "div": "divide"}
POSITIVE = ("sqrt", "rsqrt", "reciprocal", "log")
VECTORS = load_file(Path(__file__).parent / "data" / "operations.safetensors")


def cases(*kinds: str) -> list[str]:
    return sorted(name for name in VECTORS if name.startswith(kinds))


@pytest.fixture
def place(mesh_device: ttnn.MeshDevice):
    def place(name: str, form: str) -> ttnn.Tensor:
        values = VECTORS[name].float()
        values = values if values.dim() > 1 else values[None]
        return ttnn.from_torch(values, dtype=getattr(ttnn, FORMATS[form]), layout=ttnn.TILE_LAYOUT, device=mesh_device)

    return place


def differing(result: ttnn.Tensor, case: str) -> int:
    return int((ttnn.to_torch(result).float() != VECTORS[case].float()).sum())


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize("case", cases("binary", "unary", "typecast"))
def test_element_wise(compute: Compute, place, case: str, numerics: str) -> None:
    compute(numerics)
    kind, name, form = case.split(".")
    if kind == "typecast":
        assert differing(ttnn.typecast(place("in.ea", name), getattr(ttnn, FORMATS[form])), case) == 0
        return
    operands = ["in.ea", "in.eb"] if kind == "binary" else ["in.ep" if name in POSITIVE else "in.ea"]
    result = getattr(ttnn, NAMES.get(name, name))(*(place(operand, form) for operand in operands))
    assert differing(result, case) == 0


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize("case", cases("rms_norm", "layer_norm", "softmax"))
def test_norms_and_softmax(compute: Compute, place, mesh_device: ttnn.MeshDevice, case: str, numerics: str) -> None:
    compute(numerics)
    name, _, form, fidelity, fp32 = case.split(".")
    config = ttnn.init_device_compute_kernel_config(
        mesh_device.arch(),
        math_fidelity=getattr(ttnn.MathFidelity, fidelity),
        math_approx_mode=False,
        fp32_dest_acc_en=fp32 == "acc1",
    )
    options = {"dim": -1} if name == "softmax" else {"weight": place("in.g", "bf16"), "epsilon": 1e-5}
    result = getattr(ttnn, name)(place("in.x", form), compute_kernel_config=config, **options)
    assert differing(result, case) == 0


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize("case", cases("reduce"))
def test_sums(compute: Compute, place, case: str, numerics: str) -> None:
    compute(numerics)
    _, name, _, dim = case.split(".")
    operand = place("in.x" if dim == "dim-1" else "in.columns", "bf16")
    assert differing(getattr(ttnn, name)(operand, dim=int(dim.removeprefix("dim")), keepdim=True), case) == 0


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
@pytest.mark.parametrize("length", [1, 15, 33, 40, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int32])
def test_sums_of_any_length(
    compute: Compute, mesh_device: ttnn.MeshDevice, numerics: str, length: int, dtype: torch.dtype
) -> None:
    """Small integers, of which every format holds the sums."""
    compute(numerics)
    values = torch.randint(-2, 3, (2, length, length), generator=torch.Generator().manual_seed(length))
    x = ttnn.from_torch(values.to(dtype), layout=ttnn.TILE_LAYOUT, device=mesh_device)
    for dim in (-1, -2):
        found = ttnn.to_torch(ttnn.sum(x, dim=dim, keepdim=True))
        assert torch.equal(found.long(), values.sum(dim, keepdim=True)), dim


@pytest.mark.parametrize(("name", "form"), [("add", "bf16"), ("subtract", "bf16"), ("multiply", "bfp8")])
def test_an_fp32_output_has_fp32_destinations(compute: Compute, place, name: str, form: str) -> None:
    compute("device")
    a, b = place("in.ea", form), place("in.eb", form)
    operation = getattr(ttnn, name)
    wide, narrow = (ttnn.to_torch(operation(a, b, dtype=dtype)).float() for dtype in (ttnn.float32, ttnn.bfloat16))
    true = getattr(torch, name)(*(ttnn.to_torch(it).double() for it in (a, b)))
    assert ((wide - true).norm() / true.norm()).item() < 3e-4
    assert ((narrow - true).norm() / true.norm()).item() > 1e-3


def test_exact_is_another_arithmetic(compute: Compute, place) -> None:
    compute("exact")
    assert differing(ttnn.exp(place("in.ea", "bf16")), "unary.exp.bf16") > 20
    assert differing(ttnn.add(place("in.ea", "bf16"), place("in.eb", "bf16")), "binary.add.bf16") > 10
    normed = ttnn.rms_norm(place("in.x", "bf16"), weight=place("in.g", "bf16"), epsilon=1e-5)
    assert differing(normed, "rms_norm.576.bf16.HiFi2.acc0") > 200


@pytest.mark.parametrize("numerics", ["bitexact", "device"])
def test_what_is_not_finite_stays_in_its_row(compute: Compute, mesh_device: ttnn.MeshDevice, numerics: str) -> None:
    compute(numerics)
    values = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    values[1, 3] = float("nan")
    x = ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    for operation in (ttnn.rms_norm, ttnn.softmax, ttnn.silu, ttnn.exp, ttnn.tanh):
        result = ttnn.to_torch(operation(x))
        assert result[1].isnan().any(), operation
        assert result[::2].isfinite().all(), operation
