"""The packer and the element-wise addition, by hand."""

from __future__ import annotations

import pytest
import torch

from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.mantissas import leading_bits, to_tf32
from pytest_ttbringup.emulation.numerics.packing import to_bfloat4_b, to_bfloat8_b, to_bfloat16


def block(*values: float) -> torch.Tensor:
    return torch.tensor([[*values, *[0.0] * (16 - len(values))]])


def test_leading_bits_are_cut_and_not_rounded() -> None:
    value = torch.tensor([0x3FFFFFFF, -0x40000001], dtype=torch.int32).view(torch.float32)  # 1.11…1b and its negative
    assert leading_bits(value, 5).tolist() == [31 / 16, -31 / 16]
    assert to_tf32(value).tolist() == [2047 / 1024, -2047 / 1024]


def test_bfloat16_ties_go_away_from_zero() -> None:
    values = torch.tensor([1 + 2.0**-8, -1 - 2.0**-8, 1 + 2.0**-8 - 2.0**-20, 1 + 3 * 2.0**-8])
    assert to_bfloat16(values).tolist() == [1 + 2.0**-7, -1 - 2.0**-7, 1.0, 1 + 2.0**-6]


def test_bfloat8_b_is_rounded_twice() -> None:
    # in a block with 1.0, whose unit is 2 ** -6: 0.5 + 2 ** -8 is a quarter of a unit above 0.5, yet ends one above it,
    # since seven significant bits make it 0.5 + 2 ** -7 first
    assert to_bfloat8_b(block(1.0, 0.5 + 2.0**-8))[0, 1] == 0.5 + 2.0**-6
    assert to_bfloat8_b(block(0.5, 0.5 + 2.0**-8))[0, 1] == 0.5 + 2.0**-7
    assert to_bfloat8_b(block(1.0, 0.5 + 2.0**-8 - 2.0**-12))[0, 1] == 0.5  # cut to bfloat16 before: no tie then
    assert to_bfloat8_b(block(1.0, -(0.5 + 2.0**-8)))[0, 1] == -(0.5 + 2.0**-6)


def test_bfloat4_b_is_cut_from_bfloat8_b() -> None:
    assert to_bfloat4_b(block(1.0, 1.9, -0.72, 0.24))[0, :4].tolist() == [1.0, 1.75, -0.5, 0.0]


def test_addition_keeps_eleven_bits_of_the_smaller_operand() -> None:
    def added(a: float, b: float, *, fp32: bool) -> float:
        return add(torch.tensor([a]), torch.tensor([b]), fp32=fp32).item()

    assert added(1.0, 2.0**-11, fp32=True) == 1 + 2.0**-10  # half of the unit 2 ** -10 goes away from zero
    assert added(1.0, 2.0**-12, fp32=True) == 1.0
    assert added(2.0**-11, -1.0, fp32=True) == -1 + 2.0**-10
    assert added(1.0, 2.0**-8, fp32=False) == 1 + 2.0**-7
    assert added(1.0, 2.0**-9 + 2.0**-10, fp32=False) == 1.0


@pytest.mark.parametrize("power", [113, 114, 115, 116, 126])
def test_addition_of_great_numbers(power: int) -> None:
    great = torch.tensor([1.5 * 2.0**power, -1.5 * 2.0**power])
    assert torch.equal(add(great, torch.ones(2), fp32=True), great)
