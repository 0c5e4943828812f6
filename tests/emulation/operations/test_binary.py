"""Operations on two operands: tensors of the same shape, broadcast ones, a number; into given tensors and in place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Case, Setting, check, check_with_control, names, on_tiles, placed, settings_for, values, wide

TILE = ("tile",)
WHOLE = (ttnn.int32,)

FLOAT = [
    Case("add", torch.add),
    Case("subtract", torch.sub),
    Case("multiply", torch.mul),
    Case("rsub", lambda a, b: b - a),
    Case("div", torch.div, low=0.5),
    Case("divide", torch.div, low=0.5),
    Case("div_no_nan", torch.div, low=0.5, places=TILE),
    Case("floor_div", lambda a, b: torch.floor(a / b), low=0.5, high=0.9, places=TILE),
    Case("fmod", torch.fmod, low=1.0, high=1.9, places=TILE),
    Case("remainder", torch.remainder, low=1.0, high=1.9, places=TILE),
    Case("pow", torch.pow, low=0.5),
    Case("maximum", torch.maximum),
    Case("minimum", torch.minimum),
    Case("squared_difference", lambda a, b: (a - b) ** 2),
    Case("hypot", torch.hypot, places=TILE),
    Case("atan2", torch.atan2, low=0.5, places=TILE),
    Case("xlogy", torch.xlogy, low=1.5, places=TILE),
    Case("logaddexp", torch.logaddexp),
    Case("logaddexp2", torch.logaddexp2),
    Case("ldexp", torch.ldexp),
    Case("bias_gelu", lambda a, b: F.gelu(a + b), low=-1.0),
    Case("addalpha", lambda a, b: a + 0.5 * b, keywords={"alpha": 0.5}, places=TILE),
    Case("subalpha", lambda a, b: a - 0.5 * b, keywords={"alpha": 0.5}, places=TILE),
    Case("isclose", torch.isclose, places=TILE),
    Case("nextafter", lambda a, b: torch.nextafter(a.float(), b.float()), places=TILE, dtypes=(ttnn.float32,)),
    Case("eq", torch.eq),
    Case("ne", torch.ne),
    Case("gt", torch.gt),
    Case("ge", torch.ge),
    Case("lt", torch.lt),
    Case("le", torch.le),
    Case("logical_and", torch.logical_and),
    Case("logical_or", torch.logical_or),
    Case("logical_xor", torch.logical_xor),
]
BROADCAST = [case for case in FLOAT if case.name not in ("isclose", "nextafter", "atan2", "hypot")]


@pytest.mark.parametrize("case", FLOAT, ids=names(FLOAT))
@settings(max_examples=3)
@given(data=st.data())
def test_same_shape(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    setting = data.draw(settings_for(case))
    a, b = (values(setting, case.low, case.high, number=number) for number in (1, 2))
    out = case.operation(placed(a, setting, device), placed(b, setting, device), **case.keywords)
    check_with_control(out, case.expected(wide(a), wide(b)), atol=1e-3)


@pytest.mark.parametrize("case", BROADCAST, ids=names(BROADCAST))
@settings(max_examples=2)
@given(
    rows=st.sampled_from([1, 17, 64]),
    columns=st.sampled_from([2, 33, 64]),
    kind=st.sampled_from(["row", "column", "both", "outer"]),
    swapped=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_broadcast(
    device: ttnn.MeshDevice, case: Case, rows: int, columns: int, kind: str, swapped: bool, seed: int
) -> None:
    full = Setting((2, 1, rows, columns), "tile", ttnn.bfloat16, seed)
    part = {
        "row": (1, 1, 1, columns),
        "column": (2, 1, rows, 1),
        "both": (1, 1, 1, 1),
        "outer": (1, 1, rows, columns),
    }[kind]
    operands = [
        values(full, case.low, case.high),
        values(Setting(part, "tile", ttnn.bfloat16, seed), case.low, case.high, number=7),
    ]
    if swapped:
        operands.reverse()
    out = case.operation(*(on_tiles(it, device) for it in operands), **case.keywords)
    check_with_control(out, case.expected(*map(wide, operands)), atol=1e-3)


SCALAR = [case for case in FLOAT if case.name in {
    "add", "subtract", "multiply", "div", "pow", "maximum", "minimum", "eq", "ne", "gt", "ge", "lt", "le", "rsub",
    "fmod", "remainder", "floor_div",
}]  # fmt: skip


@pytest.mark.parametrize("case", SCALAR, ids=names(SCALAR))
@settings(max_examples=2)
@given(data=st.data(), number=st.sampled_from([0.5, 1.25, 2.0]))
def test_with_a_number(device: ttnn.MeshDevice, case: Case, data: st.DataObject, number: float) -> None:
    setting = data.draw(settings_for(Case(case.name, case.expected, places=TILE, dtypes=case.dtypes)))
    a = values(setting, case.low, case.high)
    out = case.operation(placed(a, setting, device), number)
    check_with_control(out, case.expected(wide(a), torch.tensor(number, dtype=torch.float64)), atol=1e-3)


IN_PLACE = [
    Case(f"{case.name}_", case.expected, case.low, case.high)
    for case in FLOAT
    if case.name in {
        "add", "subtract", "multiply", "divide", "rsub", "squared_difference", "logaddexp", "logaddexp2", "ldexp", "eq",
        "ne", "gt", "ge", "lt", "le", "logical_and", "logical_or", "logical_xor", "bias_gelu",
    }
]  # fmt: skip


@pytest.mark.parametrize("case", IN_PLACE, ids=names(IN_PLACE))
@settings(max_examples=2)
@given(data=st.data())
def test_in_place(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    setting = data.draw(settings_for(Case(case.name, case.expected, places=TILE, dtypes=(ttnn.bfloat16,))))
    a, b = (values(setting, case.low, case.high, number=number) for number in (1, 2))
    changed, other = placed(a, setting, device), placed(b, setting, device)
    case.operation(changed, other)
    check_with_control(changed, case.expected(wide(a), wide(b)).double(), atol=1e-2)
    check(other, b)


@pytest.mark.parametrize("case", FLOAT[:10], ids=names(FLOAT[:10]))
@settings(max_examples=2)
@given(data=st.data())
def test_into_a_given_tensor(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    if case.name in ("div_no_nan", "floor_div", "fmod", "remainder"):
        pytest.skip(f"ttnn.{case.name} takes no output_tensor")
    setting = data.draw(settings_for(Case(case.name, case.expected, places=TILE, dtypes=(ttnn.bfloat16,))))
    a, b = (values(setting, case.low, case.high, number=number) for number in (1, 2))
    given_tensor = placed(torch.zeros(setting.shape), setting, device)
    case.operation(placed(a, setting, device), placed(b, setting, device), output_tensor=given_tensor)
    check_with_control(given_tensor, case.expected(wide(a), wide(b)), atol=1e-3)


INTEGER = [
    Case("add", torch.add),
    Case("subtract", torch.sub),
    Case("multiply", torch.mul),
    Case("maximum", torch.maximum),
    Case("minimum", torch.minimum),
    Case("bitwise_and", torch.bitwise_and),
    Case("bitwise_or", torch.bitwise_or),
    Case("bitwise_xor", torch.bitwise_xor),
    Case("bitwise_left_shift", torch.bitwise_left_shift, low=0),
    Case("bitwise_right_shift", torch.bitwise_right_shift, low=0),
    Case("logical_left_shift", torch.bitwise_left_shift, low=0),
    Case("logical_right_shift", torch.bitwise_right_shift, low=0),
    Case("gcd", torch.gcd),
    Case("lcm", torch.lcm),
    Case("eq", torch.eq),
    Case("gt", torch.gt),
    Case("le", torch.le),
    Case("logical_and", torch.logical_and),
    Case("squared_difference", lambda a, b: (a - b) ** 2),
]


@pytest.mark.parametrize("case", INTEGER, ids=names(INTEGER))
@settings(max_examples=2)
@given(data=st.data())
def test_integers(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    setting = data.draw(settings_for(Case(case.name, case.expected, places=TILE, dtypes=WHOLE)))
    low = -9.0 if case.low else 0.0
    a, b = (values(setting, low, 9.0, number=number) for number in (1, 2))
    out = case.operation(placed(a, setting, device), placed(b, setting, device))
    check_with_control(out, case.expected(wide(a), wide(b)))


@pytest.mark.parametrize("slopes", [[0.25], [0.25, 0.5, -1.0]])
def test_prelu(device: ttnn.MeshDevice, slopes: list[float]) -> None:
    x = values(Setting((1, 3, 32, 64), "tile", ttnn.bfloat16, 4), -3, 3)
    slope = slopes[0]
    if len(slopes) > 1:
        slope = ttnn.from_torch(torch.tensor(slopes), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
    expected = F.prelu(x.double(), torch.tensor(slopes, dtype=torch.float64))
    check_with_control(ttnn.prelu(on_tiles(x, device), slope), expected, atol=1e-3)


@settings(max_examples=5)
@given(data=st.data())
def test_operators(device: ttnn.MeshDevice, data: st.DataObject) -> None:
    setting = data.draw(settings_for(Case("add", torch.add, dtypes=(ttnn.bfloat16,))))
    a, b = (values(setting, 0.5, 3.0, number=number) for number in (1, 2))
    x, y = (placed(it, setting, device) for it in (a, b))
    for out, expected in (
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (2.0 + x, 2 + a),
        (2.0 - x, 2 - a),
        (2.0 * x, 2 * a),
        (x == y, a == b),
        (x != y, a != b),
        (x > y, a > b),
        (x >= y, a >= b),
        (x < y, a < b),
        (x <= y, a <= b),
    ):
        check_with_control(out, expected, atol=1e-3)


ACTIVATIONS = {
    "RELU": torch.relu,
    "SILU": F.silu,
    "GELU": F.gelu,
    "EXP": torch.exp,
    "SQUARE": torch.square,
    "SIGMOID": torch.sigmoid,
    "TANH": torch.tanh,
    "NEG": torch.neg,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("operation", ["add", "multiply", "subtract"])
def test_fused_activations(device: ttnn.MeshDevice, operation: str, name: str) -> None:
    setting = Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 11)
    a, b = (values(setting, -2, 2, number=number) for number in (1, 2))
    kind, function = getattr(ttnn.UnaryOpType, name), ACTIVATIONS[name]
    plain = {"add": torch.add, "multiply": torch.mul, "subtract": torch.sub}[operation]
    after = getattr(ttnn, operation)(on_tiles(a, device), on_tiles(b, device), activations=[kind])
    check_with_control(after, function(plain(a.double(), b.double())), atol=1e-2)
    before = getattr(ttnn, operation)(on_tiles(a, device), on_tiles(b, device), input_tensor_a_activations=[kind])
    check_with_control(before, plain(function(a.double()), b.double()), atol=1e-2)


PARAMETRIC = {
    "HARDTANH": ((-0.5, 0.75), lambda x: x.clamp(-0.5, 0.75)),
    "CELU": ((1.5,), lambda x: F.celu(x, 1.5)),
    "SOFTSHRINK": ((0.25,), lambda x: F.softshrink(x, 0.25)),
    "MAXIMUM": ((0.5,), lambda x: x.clamp(min=0.5)),
    "THRESHOLD": ((0.5, 3.0), lambda x: F.threshold(x, 0.5, 3.0)),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_fused_activations_with_parameters(device: ttnn.MeshDevice, name: str) -> None:
    setting = Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 11)
    a, b = (values(setting, -2, 2, number=number) for number in (1, 2))
    parameters, function = PARAMETRIC[name]
    activation = ttnn.UnaryWithParam(getattr(ttnn.UnaryOpType, name), *parameters)
    out = ttnn.add(on_tiles(a, device), on_tiles(b, device), activations=[activation])
    check_with_control(out, function(a.double() + b.double()), atol=1e-2)


def test_one_activation_with_its_parameter_as_a_pair(device: ttnn.MeshDevice) -> None:
    setting = Setting((1, 1, 64, 64), "tile", ttnn.bfloat16, 12)
    a, b = (values(setting, -1, 1, number=number) for number in (1, 2))
    out = ttnn.experimental.minimal_matmul(
        on_tiles(a, device), on_tiles(b, device), fused_activation=(ttnn.UnaryOpType.GELU, False)
    )
    check_with_control(out, F.gelu(a.double() @ b.double()), atol=5e-2)
