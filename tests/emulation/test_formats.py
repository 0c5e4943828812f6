"""The device's number formats, against TT-NN's host packer and by hand."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.emulation.formats import block_float, round_to

BLOCK_FORMATS = {ttnn.bfloat8_b: 7, ttnn.bfloat4_b: 3}

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**120), max_value=2.0**120)
blocks = st.lists(floats, min_size=16, max_size=16)


def host_packed(values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT).to_torch().float()


def ties(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Where a value lies halfway between two of its block's representable neighbours, in float64."""
    blocked = values.double().unflatten(-1, (-1, 16))
    exponent = torch.frexp(blocked.abs().amax(-1, keepdim=True)).exponent - 1
    return (torch.ldexp(blocked, bits - 1 - exponent).abs().frac() == 0.5).flatten(-2)


@pytest.mark.usefixtures("mesh_device")  # without any cluster, TT-NN's packer stops with "No chips detected"
@pytest.mark.parametrize("dtype", [ttnn.bfloat16, *BLOCK_FORMATS], ids=lambda dtype: dtype.name)
@given(rows=st.lists(blocks, min_size=1, max_size=4))
def test_rounding_is_that_of_the_host_packer_but_for_ties(dtype: ttnn.DataType, rows: list[list[float]]) -> None:
    values = torch.tensor(rows)
    ours, theirs = round_to(values, dtype), host_packed(values, dtype)
    differs = ours != theirs
    if dtype in BLOCK_FORMATS:
        differs &= ~ties(values, BLOCK_FORMATS[dtype])
    assert not differs.any(), (values[differs], ours[differs], theirs[differs])


@given(block=blocks, bits=st.sampled_from([3, 7]))
def test_block_float_is_idempotent_and_odd(block: list[float], bits: int) -> None:
    values = torch.tensor([block])
    once = block_float(values, mantissa_bits=bits)
    assert torch.equal(block_float(once, mantissa_bits=bits), once)
    assert torch.equal(block_float(-values, mantissa_bits=bits), -once)


@pytest.mark.parametrize("bits", [3, 7])
@pytest.mark.parametrize("scale", [1.0, 2.0**-120])  # the second beyond what one division scales exactly
def test_only_half_a_unit_rounds_up(bits: int, scale: float) -> None:
    """The number just below it, to which adding one half gives 1, does not."""
    least = torch.tensor([2.0 ** (bits - 1), 0.5, 0.5 - 2.0**-25, -0.5, 2.0**-25 - 0.5, 1.5, 1.5 - 2.0**-23]) * scale
    assert (block_float(least, mantissa_bits=bits) / scale).tolist() == [2.0 ** (bits - 1), 1, 0, -1, 0, 2, 1]


@given(block=blocks)
def test_bfloat8_b_is_within_half_a_unit_of_the_block(block: list[float]) -> None:
    values = torch.tensor([block], dtype=torch.float64)
    largest = values.abs().max()
    unit = 2.0 ** (torch.frexp(largest).exponent.item() - 7)
    error = (block_float(values.float(), mantissa_bits=7).double() - values).abs()
    # a largest value that would round up to the next power of two stays one unit below it
    assert (error <= torch.where(values.abs() > largest - unit, unit, unit / 2) + 2.0**-126).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, 1.0),
        (1 + 1 / 64, 1 + 1 / 64),  # the last of 7 bits: 1.000001
        (1 + 1 / 128, 1 + 1 / 64),  # half a unit: away from zero
        (-1 - 1 / 128, -1 - 1 / 64),
        (1 + 3 / 128, 1 + 2 / 64),  # half a unit from an odd mantissa
        (1 + 0.9 / 128, 1.0),
        (2 - 1 / 256, 2 - 1 / 64),  # would round up to 2.0, which needs an eighth bit
        (1e-40, 0.0),  # a denormal
    ],
)
def test_bfloat8_b_by_hand(value: float, expected: float) -> None:
    block = torch.zeros(1, 16)
    block[0, 3] = value
    assert block_float(block, mantissa_bits=7)[0, 3].item() == expected


def test_a_large_neighbour_takes_the_small_values_bits() -> None:
    block = torch.full((1, 16), 1 + 1 / 64)
    block[0, 0] = 64.0
    assert block_float(block, mantissa_bits=7)[0, 1].item() == 1.0


def test_widths_that_are_no_multiple_of_a_block() -> None:
    values = torch.randn(3, 37)
    padded = torch.nn.functional.pad(values, (0, 11))
    assert torch.equal(block_float(values, mantissa_bits=3), block_float(padded, mantissa_bits=3)[:, :37])


@pytest.mark.parametrize("dtype", [ttnn.uint8, ttnn.uint16, ttnn.int32, ttnn.uint32], ids=lambda dtype: dtype.name)
def test_integers_keep_their_type(dtype: ttnn.DataType) -> None:
    rounded = round_to(torch.tensor([0.0, 1.9, 200.0]), dtype)
    assert rounded.tolist() == [0, 1, 200]
    assert not rounded.is_floating_point()
