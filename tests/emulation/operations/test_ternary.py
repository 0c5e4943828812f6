"""Operations on three tensors."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Case, check_with_control, names, placed, settings_for, values, wide

CASES = [
    Case("where", lambda c, a, b: torch.where(c != 0, a, b)),
    Case("addcmul", lambda a, b, c: a + 0.5 * b * c, keywords={"value": 0.5}),
    Case("addcdiv", lambda a, b, c: a + 0.5 * b / c, low=0.5, keywords={"value": 0.5}),
    Case("lerp", torch.lerp),
    Case("mac", lambda a, b, c: a * b + c),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
@settings(max_examples=4)
@given(data=st.data())
def test_three_tensors(device: ttnn.MeshDevice, case: Case, data: st.DataObject) -> None:
    setting = data.draw(settings_for(Case(case.name, case.expected, places=("tile",))))
    operands = [values(setting, case.low, case.high, number=number) for number in (1, 2, 3)]
    if case.name == "where":
        operands[0] = (operands[0] > 0).float()
    out = case.operation(*(placed(it, setting, device) for it in operands), **case.keywords)
    check_with_control(out, case.expected(*map(wide, operands)), atol=3e-2 if setting.dtype == ttnn.bfloat16 else 1e-3)


@settings(max_examples=4)
@given(data=st.data(), number=st.sampled_from([0.5, -1.0]))
def test_where_with_numbers(device: ttnn.MeshDevice, data: st.DataObject, number: float) -> None:
    setting = data.draw(settings_for(Case("where", torch.where, places=("tile",))))
    condition, a = (values(setting, 0, 2).floor(), values(setting, -3, 3, number=1))
    c, x = (placed(it, setting, device) for it in (condition, a))
    check_with_control(ttnn.where(c, x, number), torch.where(condition != 0, a, number))
    check_with_control(ttnn.where(c, number, x), torch.where(condition != 0, number, a))
    check_with_control(ttnn.where(c, number, 3.0), torch.where(condition != 0, number, 3.0))
