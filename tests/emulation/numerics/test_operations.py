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

from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.numerics import vector_unit
from pytest_ttbringup.emulation.semantics.random import below

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


def test_functions_with_parameters(compute: Compute, mesh_device: ttnn.MeshDevice) -> None:
    """The vector unit's rule holds with the parameters it knows, alone or fused; what it does not know is TT-NN's own
    function.
    """
    compute("device")
    values = torch.linspace(-4, 4, 1024).reshape(32, 32).bfloat16().float()
    x, one = (
        ttnn.from_torch(it, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
        for it in (values, torch.ones(32, 32))
    )
    alone = ttnn.to_torch(ttnn.softplus(x, beta=2.0, threshold=10.0)).float()
    assert torch.equal(alone, vector_unit.softplus(values, 2.0, 10.0))
    assert not torch.equal(alone, vector_unit.softplus(values))
    assert not torch.equal(alone, torch.nn.functional.softplus(values, 2.0, 10.0).bfloat16().float())
    softplus = ttnn.UnaryWithParam(ttnn.UnaryOpType.SOFTPLUS, 2.0, 10.0)
    fused = ttnn.multiply(x, one, input_tensor_a_activations=[softplus])
    assert torch.equal(ttnn.to_torch(fused).float(), alone)
    own = ttnn.to_torch(ttnn.exp(x)).float()
    assert torch.equal(own, vector_unit.exp(values))
    assert torch.equal(ttnn.to_torch(ttnn.exp(x, fast_and_approximate_mode=False)).float(), own)
    assert not torch.equal(ttnn.to_torch(ttnn.exp(x, fast_and_approximate_mode=True)).float(), own)


def test_fused_products_go_through_the_arithmetic(compute: Compute, mesh_device: ttnn.MeshDevice) -> None:
    generator = torch.Generator().manual_seed(8)

    def made(*shape: int) -> ttnn.Tensor:
        values = torch.randn(shape, generator=generator)
        return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)

    x, w, zeros = (
        made(1, 1, 32, 256),
        made(1, 1, 256, 64),
        ttnn.zeros((1, 1, 32, 64), layout=ttnn.TILE_LAYOUT, device=mesh_device),
    )
    gate = ttnn.ones((1, 1, 1, 64), layout=ttnn.TILE_LAYOUT, device=mesh_device)
    compute("device")
    product = ttnn.to_torch(ttnn.experimental.minimal_matmul(x, w))
    fused = ttnn.to_torch(ttnn.experimental.dit_minimal_matmul_addcmul_fused(x, w, 1.0, zeros, gate))
    assert torch.equal(fused, product)
    compute("exact")
    assert not torch.equal(ttnn.to_torch(ttnn.experimental.minimal_matmul(x, w)), product)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-8.0, 1.0), (2.0, 3.0), (-3.0, -1.0), (0.0, 100.0)])
@pytest.mark.parametrize("dtype", [ttnn.bfloat8_b.name, ttnn.bfloat4_b.name, ttnn.bfloat16.name])
def test_the_limit_of_random_numbers_is_never_drawn(low: float, high: float, dtype: str) -> None:
    form = next(it for it in (ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.bfloat16) if it.name == dtype)
    greatest = below(low, high, form)
    assert greatest < high
    for first in (low, greatest):  # beside the largest in size, and alone in its block
        block = torch.full((1, 16), greatest)
        block[0, 0] = first
        assert round_to(block, form)[0, 1].item() == greatest
