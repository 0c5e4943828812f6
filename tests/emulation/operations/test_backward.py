"""Gradients, against PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, on_tiles, values

Function = Callable[..., torch.Tensor]

UNARY: dict[str, tuple[Function, float, float, dict[str, Any]]] = {
    "abs_bw": (torch.abs, 0.2, 3, {}),
    "neg_bw": (torch.neg, -3, 3, {}),
    "exp_bw": (torch.exp, -2, 2, {}),
    "exp2_bw": (torch.exp2, -2, 2, {}),
    "expm1_bw": (torch.expm1, -2, 2, {}),
    "log_bw": (torch.log, 0.5, 3, {}),
    "log2_bw": (torch.log2, 0.5, 3, {}),
    "log10_bw": (torch.log10, 0.5, 3, {}),
    "log1p_bw": (torch.log1p, 0.5, 3, {}),
    "sqrt_bw": (torch.sqrt, 0.5, 3, {}),
    "rsqrt_bw": (torch.rsqrt, 0.5, 3, {}),
    "square_bw": (torch.square, -3, 3, {}),
    "reciprocal_bw": (torch.reciprocal, 0.5, 3, {}),
    "relu_bw": (torch.relu, -3, 3, {}),
    "relu6_bw": (F.relu6, -3, 9, {}),
    "gelu_bw": (F.gelu, -3, 3, {}),
    "silu_bw": (F.silu, -3, 3, {}),
    "selu_bw": (F.selu, -3, 3, {}),
    "elu_bw": (F.elu, -3, 3, {}),
    "celu_bw": (F.celu, -3, 3, {}),
    "leaky_relu_bw": (lambda x: F.leaky_relu(x, 0.25), -3, 3, {"negative_slope": 0.25}),
    "sigmoid_bw": (torch.sigmoid, -3, 3, {}),
    "log_sigmoid_bw": (F.logsigmoid, -3, 3, {}),
    "tanh_bw": (torch.tanh, -2, 2, {}),
    "tanhshrink_bw": (F.tanhshrink, 0.5, 2, {}),
    "hardsigmoid_bw": (F.hardsigmoid, -2, 2, {}),
    "hardswish_bw": (F.hardswish, -2, 2, {}),
    "hardtanh_bw": (F.hardtanh, -2, 2, {}),
    "softsign_bw": (F.softsign, -2, 2, {}),
    "softplus_bw": (F.softplus, -2, 2, {}),
    "sin_bw": (torch.sin, -1, 1, {}),
    "cos_bw": (torch.cos, 0.5, 2, {}),
    "tan_bw": (torch.tan, -1, 1, {}),
    "sinh_bw": (torch.sinh, -2, 2, {}),
    "cosh_bw": (torch.cosh, 0.5, 2, {}),
    "asin_bw": (torch.asin, -0.8, 0.8, {}),
    "acos_bw": (torch.acos, -0.8, 0.8, {}),
    "atan_bw": (torch.atan, -2, 2, {}),
    "asinh_bw": (torch.asinh, -2, 2, {}),
    "acosh_bw": (torch.acosh, 1.25, 3, {}),  # its golden function wants the device
    "atanh_bw": (torch.atanh, -0.8, 0.8, {}),
    "erf_bw": (torch.erf, -1, 1, {}),
    "erfc_bw": (torch.erfc, -1, 1, {}),
    "deg2rad_bw": (torch.deg2rad, -90, 90, {}),
    "rad2deg_bw": (torch.rad2deg, -3, 3, {}),
    "pow_bw": (lambda x: x**3, 0.5, 2, {"exponent": 3.0}),
    "clamp_bw": (lambda x: x.clamp(-1, 1.5), -3, 3, {"min": -1.0, "max": 1.5}),
}


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=2)
@given(rows=st.sampled_from([17, 32]), columns=st.sampled_from([32, 64]), seed=st.integers(0, 2**31))
def test_of_one_tensor(device: ttnn.MeshDevice, name: str, rows: int, columns: int, seed: int) -> None:
    function, low, high, keywords = UNARY[name]
    setting = Setting((1, 1, rows, columns), "tile", ttnn.bfloat16, seed)
    x, grad = values(setting, low, high), values(setting, 0.5, 2, number=1)
    (out,) = getattr(ttnn, name)(on_tiles(grad, device), on_tiles(x, device), **keywords)
    (expected,) = gradients(function, grad, x)
    check_with_control(out, expected, rtol=1.6e-2, atol=1e-2)


BINARY: dict[str, tuple[Function, dict[str, Any]]] = {
    "add_bw": (torch.add, {}),
    "sub_bw": (torch.sub, {}),
    "mul_bw": (torch.mul, {}),
    "div_bw": (torch.div, {}),
    "rsub_bw": (torch.rsub, {}),
    "squared_difference_bw": (lambda a, b: (a - b) ** 2, {}),
    "hypot_bw": (torch.hypot, {}),
    "atan2_bw": (torch.atan2, {}),
    "xlogy_bw": (torch.xlogy, {}),
    "logaddexp_bw": (torch.logaddexp, {}),
    "logaddexp2_bw": (torch.logaddexp2, {}),
    "max_bw": (torch.maximum, {}),
    "min_bw": (torch.minimum, {}),
    "ldexp_bw": (torch.ldexp, {}),
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=2)
@given(rows=st.sampled_from([17, 32]), columns=st.sampled_from([32, 64]), seed=st.integers(0, 2**31))
def test_of_two_tensors(device: ttnn.MeshDevice, name: str, rows: int, columns: int, seed: int) -> None:
    function, keywords = BINARY[name]
    setting = Setting((1, 1, rows, columns), "tile", ttnn.bfloat16, seed)
    a, b, grad = (values(setting, 0.75, 2, number=number) for number in (1, 2, 3))
    b = b + torch.where(a == b, 0.5, 0.0)  # at equal values either gradient of a maximum would do
    outs = getattr(ttnn, name)(*(on_tiles(it, device) for it in (grad, a, b)), **keywords)
    for out, expected in zip(outs, gradients(function, grad, a, b), strict=True):
        check_with_control(out, expected, rtol=1.6e-2, atol=1e-2)


@pytest.mark.parametrize("dim", [0, -1, None])
@pytest.mark.parametrize("alone", [True, False])
def test_of_a_product(device: ttnn.MeshDevice, dim: int | None, alone: bool) -> None:
    setting = Setting((2, 1, 32, 64), "tile", ttnn.bfloat16, 3)
    x, grad = values(setting, 0.99, 1.01), values(setting, 0.5, 2, number=1)
    reduced = tuple(slice(1) if dim is None or number == dim % 4 else slice(None) for number in range(4))
    first = grad[reduced]  # what counts of the gradient, whether others follow or not
    (out,) = ttnn.prod_bw(on_tiles(first if alone else grad, device), on_tiles(x, device), dim=dim)
    wanted = first.reshape(()) if dim is None else first
    (expected,) = gradients(lambda it: it.prod() if dim is None else it.prod(dim, keepdim=True), wanted, x)
    check_with_control(out, expected, rtol=1.6e-2, atol=1e-2)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_only_the_wanted_ones(device: ttnn.MeshDevice, wanted: tuple[bool, bool]) -> None:
    setting = Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 3)
    a, b, grad = (values(setting, 0.75, 2, number=number) for number in (1, 2, 3))
    outs = ttnn.mul_bw(*(on_tiles(it, device) for it in (grad, a, b)), are_required_outputs=list(wanted))
    for out, expected, asked in zip(outs, gradients(torch.mul, grad, a, b), wanted, strict=True):
        assert (out is not None) == asked
        if asked:
            check_with_control(out, expected, rtol=1.6e-2, atol=1e-2)


def test_inputs_are_left_alone(device: ttnn.MeshDevice) -> None:
    setting = Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 3)
    a, grad = values(setting, 0.75, 2), values(setting, 0.75, 2, number=1)
    x = on_tiles(a, device)
    first = ttnn.exp_bw(on_tiles(grad, device), x)[0]
    again = ttnn.exp_bw(on_tiles(grad, device), x)[0]
    check_with_control(x, a)
    assert torch.equal(ttnn.to_torch(first), ttnn.to_torch(again))  # gradients do not add up


def gradients(function: Function, grad: torch.Tensor, *operands: torch.Tensor) -> tuple[torch.Tensor, ...]:
    inputs = [it.double().requires_grad_(True) for it in operands]
    return torch.autograd.grad(function(*inputs), inputs, grad.double())
