"""Operations on one tensor, element by element."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Case, check_with_control, names, placed, settings_for, values, wide

TILE = ("tile",)

FLOAT = [
    Case("relu", torch.relu),
    Case("relu6", F.relu6, high=9),
    Case("gelu", F.gelu),
    Case("silu", F.silu),
    Case("swish", F.silu),
    Case("mish", F.mish),
    Case("selu", F.selu),
    Case("elu", lambda x: F.elu(x, 1.5), keywords={"alpha": 1.5}),
    Case("celu", lambda x: F.celu(x, 1.5), keywords={"alpha": 1.5}),
    Case("leaky_relu", lambda x: F.leaky_relu(x, 0.25), keywords={"negative_slope": 0.25}),
    Case("sigmoid", torch.sigmoid),
    Case("sigmoid_accurate", torch.sigmoid),
    Case("log_sigmoid", F.logsigmoid),
    Case("hardsigmoid", F.hardsigmoid, low=-6, high=6),
    Case("hardswish", F.hardswish, low=-6, high=6),
    Case("hardtanh", F.hardtanh),
    Case("hardshrink", F.hardshrink),
    Case("softshrink", F.softshrink),
    Case("tanhshrink", lambda x: x - torch.tanh(x), low=0.5),
    Case("softsign", F.softsign),
    Case("softplus", F.softplus),
    Case("tanh", torch.tanh),
    Case("exp", torch.exp),
    Case("exp2", torch.exp2),
    Case("expm1", torch.expm1),
    Case("log", torch.log, low=0.1, high=9),
    Case("log2", torch.log2, low=2, high=9),
    Case("log10", torch.log10, low=2, high=9),
    Case("log1p", torch.log1p, low=0.1, high=9),
    Case("sqrt", torch.sqrt, low=0.1, high=9),
    Case("rsqrt", torch.rsqrt, low=0.1, high=9),
    Case("cbrt", lambda x: x.sign() * x.abs() ** (1 / 3)),
    Case("square", torch.square),
    Case("reciprocal", torch.reciprocal, low=0.5),
    Case("abs", torch.abs),
    Case("neg", torch.neg),
    Case("sign", torch.sign),
    Case("signbit", torch.signbit),
    Case("identity", lambda x: x),
    Case("floor", torch.floor),
    Case("ceil", torch.ceil),
    Case("trunc", torch.trunc),
    Case("frac", torch.frac),
    Case("round", lambda x: torch.round(x), low=-9, high=9),
    Case("sin", torch.sin, low=0.3, high=2.5),
    Case("cos", torch.cos, low=-1, high=1),
    Case("tan", torch.tan, low=-1.2, high=1.2),
    Case("asin", torch.asin, low=-0.9, high=0.9),
    Case("acos", torch.acos, low=-0.9, high=0.9),
    Case("atan", torch.atan),
    Case("sinh", torch.sinh),
    Case("cosh", torch.cosh),
    Case("asinh", torch.asinh),
    Case("acosh", torch.acosh, low=1.2, high=5),
    Case("atanh", torch.atanh, low=-0.9, high=0.9),
    Case("deg2rad", torch.deg2rad, low=-180, high=180),
    Case("rad2deg", torch.rad2deg),
    Case("erf", torch.erf),
    Case("erfc", torch.erfc, low=-2, high=1),
    Case("erfinv", torch.erfinv, low=-0.9, high=0.9),
    Case("i0", torch.special.i0),
    Case("i1", torch.special.i1),
    Case("lgamma", torch.lgamma, low=3, high=9),
    Case("digamma", torch.digamma, low=3, high=9),
    Case("logit", torch.logit, low=0.6, high=0.9),
    Case("isfinite", torch.isfinite),
    Case("isinf", torch.isinf),
    Case("isnan", torch.isnan),
    Case("isposinf", torch.isposinf),
    Case("isneginf", torch.isneginf),
    Case("logical_not", torch.logical_not),
    Case("eqz", lambda x: x == 0),
    Case("nez", lambda x: x != 0),
    Case("gtz", lambda x: x > 0),
    Case("gez", lambda x: x >= 0),
    Case("ltz", lambda x: x < 0),
    Case("lez", lambda x: x <= 0),
    Case("clamp", lambda x: x.clamp(-1, 1.5), keywords={"min": -1.0, "max": 1.5}),
    Case("clip", lambda x: x.clamp(-1, 1.5), keywords={"min": -1.0, "max": 1.5}),
    Case("heaviside", lambda x: torch.heaviside(x, torch.tensor(0.5, dtype=x.dtype)), keywords={"value": 0.5}),
    Case("threshold", lambda x: F.threshold(x, 0.5, 7.0), keywords={"threshold": 0.5, "value": 7.0}),
    Case("relu_max", lambda x: x.clamp(0, 2), keywords={"upper_limit": 2.0}),
    Case("relu_min", lambda x: x.clamp(min=0.5), keywords={"lower_limit": 0.5}),
    Case("fill", lambda x: torch.full_like(x, 2.5), keywords={"fill_value": 2.5}),
    Case("rdiv", lambda x: 3.0 / x, low=0.5, keywords={"value": 3.0}),
    Case("rpow", lambda x: 2.0**x, keywords={"exponent": 2}),
    Case("polygamma", lambda x: torch.polygamma(2, x), low=2, high=5, keywords={"k": 2}),
    Case("multigammaln", lambda x: torch.special.multigammaln(x, 4), low=4, high=9),
    Case("tril", torch.tril, places=TILE),
    Case("triu", torch.triu, places=TILE),
    Case("zeros_like", torch.zeros_like),
    Case("ones_like", torch.ones_like),
    Case("full_like", lambda x: torch.full_like(x, 2.5), keywords={"fill_value": 2.5}),
    Case("clone", lambda x: x),
    Case("move", lambda x: x),
]


@pytest.mark.parametrize("case", FLOAT, ids=names(FLOAT))
@settings(max_examples=4)
@given(data=st.data())
def test_float(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    setting = data.draw(settings_for(case))
    x = values(setting, case.low, case.high)
    out = case.operation(placed(x, setting, device), **case.keywords)
    check_with_control(out, case.expected(wide(x)), rtol=case.rtol, atol=1e-3)


INTEGER = [
    Case("abs", torch.abs),
    Case("neg", torch.neg),
    Case("square", torch.square),
    Case("relu", torch.relu),
    Case("bitwise_not", torch.bitwise_not),
    Case("logical_not", torch.logical_not),
    Case("eqz", lambda x: x == 0),
    Case("nez", lambda x: x != 0),
    Case("gtz", lambda x: x > 0),
    Case("ltz", lambda x: x < 0),
]


@pytest.mark.parametrize("case", INTEGER, ids=names(INTEGER))
@settings(max_examples=2)
@given(data=st.data())
def test_integer(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    whole = Case(case.name, case.expected, -9, 9, places=TILE, dtypes=(ttnn.int32,))
    setting = data.draw(settings_for(whole))
    x = values(setting, whole.low, whole.high)
    check_with_control(whole.operation(placed(x, setting, device)), whole.expected(wide(x)))


GATED = [
    Case("glu", lambda a, b: a * torch.sigmoid(b)),
    Case("reglu", lambda a, b: a * torch.relu(b)),
    Case("geglu", lambda a, b: a * F.gelu(b)),
    Case("swiglu", lambda a, b: a * F.silu(b)),
]


@pytest.mark.parametrize("case", GATED, ids=names(GATED))
@settings(max_examples=2)
@given(rows=st.sampled_from([32, 64]), columns=st.sampled_from([64, 128]), seed=st.integers(0, 2**31))
def test_gated(device: ttnn.MeshDevice, case: Case, rows: int, columns: int, seed: int) -> None:
    x = torch.randn(1, 1, rows, columns, generator=torch.Generator().manual_seed(seed)).bfloat16().double()
    out = case.operation(ttnn.from_torch(x.float(), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device), -1)
    check_with_control(out, case.expected(*x.chunk(2, -1)), atol=2e-2)


def test_not_a_number_is_seen(device: ttnn.MeshDevice) -> None:
    x = ttnn.from_torch(
        torch.tensor([[1.0, math.nan, math.inf, -math.inf]]), dtype=ttnn.float32, layout=ttnn.TILE_LAYOUT
    )
    x = ttnn.to_device(x, device)
    assert ttnn.to_torch(ttnn.isnan(x)).tolist() == [[0, 1, 0, 0]]
    assert ttnn.to_torch(ttnn.isinf(x)).tolist() == [[0, 0, 1, 1]]
