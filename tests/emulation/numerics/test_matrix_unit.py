"""The compiled loops against the rules in fractions, and by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ttbringup.emulation.numerics.matrix_unit import accumulate, accumulate_many, collapsed
from pytest_ttbringup.emulation.numerics.multiplying import multiply

from .rules import multiply_16

pytestmark = pytest.mark.usefixtures("_compiled")

bf16 = st.builds(
    lambda sign, mantissa, exponent: sign * (1 + mantissa / 128) * 2.0**exponent,
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.integers(0, 127),
    st.integers(-9, 9),
)
sixteen = st.lists(bf16, min_size=16, max_size=16)


def unit(a: list[float], b: list[float], old: float, *, phases: int, fp32: bool, exact: bool = True) -> float:
    activations, weights = torch.tensor([a]), torch.tensor(b)[:, None]
    return accumulate(
        activations, weights, torch.tensor([[old]]), phases=phases, fp32=fp32, exact=exact, block=len(a)
    ).item()


@pytest.mark.parametrize("fp32", [False, True], ids=["bf16", "fp32"])
@pytest.mark.parametrize("phases", [1, 4])
@settings(max_examples=60)
@given(a=sixteen, b=sixteen, old=bf16)
def test_a_step_is_the_rules(a: list[float], b: list[float], old: float, fp32: bool, phases: int) -> None:
    expected = old
    for phase in range(phases):
        expected = multiply_16(a, b, expected, phase=phase, fp32=fp32)
    assert unit(a, b, old, phases=phases, fp32=fp32) == expected


def test_the_unit_goes_through_a_tile_phase_by_phase() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(64, generator=generator).bfloat16().tolist() for _ in range(2))
    expected = 0.0
    for tile in (0, 32):
        for phase in (0, 1):
            for k in (tile, tile + 16):
                expected = multiply_16(a[k : k + 16], b[k : k + 16], expected, phase=phase, fp32=False)
    assert unit(a, b, 0.0, phases=2, fp32=False) == expected


def padded(*values: float) -> list[float]:
    return [*values, *[0.0] * (16 - len(values))]


def test_by_hand() -> None:
    # LoFi keeps five bits of a weight and seven of an activation: 1.1111111b * 1.1111111b -> 1.111111b * 1.1111b
    assert unit(padded(255 / 128), padded(255 / 128), 0.0, phases=1, fp32=True) == (127 / 64) * (31 / 16)
    # HiFi2 adds the weight's other bits, HiFi4 the activation's
    assert unit(padded(255 / 128), padded(255 / 128), 0.0, phases=2, fp32=True) == (127 / 64) * (255 / 128)
    # a BF16 destination has eight bits, ties away from zero: 1 + 2 ** -8 -> 1 + 2 ** -7
    assert unit(padded(1.0), padded(2.0**-8), 1.0, phases=1, fp32=False) == 1 + 2.0**-7
    assert unit(padded(1.0), padded(-(2.0**-8)), -1.0, phases=1, fp32=False) == -1 - 2.0**-7
    # ... unless the sum's eleven bits lose it first: 2 ** -12 is below half of 2 ** -10
    assert unit(padded(1.0), padded(2.0**-12), 1.0, phases=1, fp32=False) == 1.0
    # a product loses what lies below its group's unit, 2 ** -10 of the largest: 1 + 2 ** -11 - 1 -> 2 ** -10
    assert unit(padded(1.0, 1.0, 1.0), padded(1.0, 2.0**-11, -1.0), 0.0, phases=1, fp32=True) == 2.0**-10
    # in the other group it is kept
    apart = [*padded(1.0)[:8], *padded(1.0)[:8]]
    assert unit(apart, [*padded(1.0)[:8], *padded(2.0**-11)[:8]], -1.0, phases=1, fp32=True) == 2.0**-11


@pytest.mark.parametrize("phases", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 32])
def test_the_quick_way_has_the_statistics_of_the_exact_one(phases: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(phases)
    a = torch.randn(rows, 1024, generator=generator).bfloat16().float()
    b = torch.randn(1024, 96, generator=generator).bfloat16().float()
    start, true = torch.zeros(rows, 96), a.double() @ b.double()
    exact, quick = (
        accumulate(a, b, start, phases=phases, fp32=False, exact=flag, block=1024).double() for flag in (True, False)
    )
    error = ((exact - true).norm() / true.norm()).item()
    assert ((quick - true).norm() / true.norm()).item() == pytest.approx(error, rel=0.1)
    assert (quick - exact).norm() / true.norm() < error / 3
    growth = [((it * true).sum() / true.square().sum()).item() - 1 for it in (exact, quick)]
    assert growth[1] == pytest.approx(growth[0], abs=3e-3)
    assert abs((a @ b - exact).norm() / true.norm()) > error / 2  # an ordinary product is not close


def test_blocks_in_l1_drift_less() -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(4, 2048, generator=generator).bfloat16().float()
    b = torch.randn(2048, 32, generator=generator).bfloat16().float()
    true = a.double() @ b.double()

    def error(where: str, exact: bool) -> float:
        result = accumulate(a, b, torch.zeros(4, 32), phases=2, fp32=False, exact=exact, block=64, meeting=where)
        return ((result - true).norm() / true.norm()).item()

    for exact in (True, False):
        assert error("L1", exact) < error("destination", exact) / 2
        assert error("L1 to the end", exact) < error("destination", exact) / 2


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_not_finite_stays_in_its_row_and_column(exact: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(3, 32, generator=generator), torch.randn(32, 3, generator=generator)
    start = torch.zeros(3, 3)
    clean = accumulate(a, b, start, phases=2, fp32=False, exact=exact, block=32)
    a[1, 5], b[7, 2] = float("nan"), float("inf")
    result = accumulate(a, b, start, phases=2, fp32=False, exact=exact, block=32)
    assert result[1].isnan().all()
    assert not result[0, 2].isfinite()
    assert torch.equal(result[::2, :2], clean[::2, :2])


@pytest.mark.parametrize(("phases", "a_bits", "b_bits"), [(1, 7, 5), (2, 7, 10), (4, 11, 10)])
def test_phases_collapse_into_ordinary_products(phases: int, a_bits: int, b_bits: int) -> None:
    def kept(value: float, bits: int) -> float:
        return int(value * 2 ** (bits - 1)) / 2 ** (bits - 1)  # of a value from 1 to 2

    a, b = 1 + 0b11111111111 / 2**11, 1 + 0b11101110111 / 2**11
    a, b = kept(a, 11), kept(b, 10)
    product = collapsed(torch.tensor([[a]]), torch.tensor([[b]]), phases).item()
    assert product == pytest.approx(kept(a, a_bits) * kept(b, b_bits), rel=1e-7)
    three = collapsed(torch.tensor([[a]]), torch.tensor([[b]]), 3).item()
    assert three == pytest.approx(kept(a, 7) * b + (a - kept(a, 7)) * kept(b, 5), rel=1e-7)


@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize("huge", [float("nan"), float("inf"), 2.0**51])
def test_what_is_not_tame_leaves_other_rows_and_columns_as_they_are(huge: float, fp32: bool) -> None:
    """Of many products at once, as attention has them for its users: one who looks nowhere does not change the rest."""
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(shape, generator=generator).bfloat16().float() for shape in ((3, 8, 40), (3, 40, 9)))
    alone = accumulate_many(a, b, phases=2, fp32=fp32, exact=True)
    assert not torch.equal(alone, collapsed(a, b, 2))
    a[1, 5, 7], b[2, 3, 4] = huge, huge
    result = accumulate_many(a, b, phases=2, fp32=fp32, exact=True)
    touched = torch.zeros_like(alone, dtype=torch.bool)
    touched[1, 5], touched[2, :, 4] = True, True
    assert torch.equal(result[~touched], alone[~touched])
    assert not (result[touched].abs() < 2**40).any()


@pytest.mark.parametrize("phases", [1, 2, 3, 4])
def test_infinities_stay_infinite_with_fp32_destinations(phases: int) -> None:
    """The products of phases 0 and 1 and of 2 cancel out to NaN if each is taken of an infinity."""
    a, b = torch.randn(3, 32, generator=torch.Generator().manual_seed(4)), torch.rand(32, 3) + 0.5
    clean = collapsed(a, b, phases)
    a[1, 5] = float("inf")
    assert torch.equal(collapsed(a, b, phases)[1], torch.full((3,), float("inf")))
    assert torch.equal(collapsed(a, b, phases)[::2], clean[::2])
    b[7, 2] = float("-inf")
    assert collapsed(a.abs(), b, phases)[0, 2] == float("-inf")


@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize("phases", [1, 2, 3, 4])
def test_an_element_wise_product_with_infinity(phases: int, fp32: bool) -> None:
    a = torch.tensor([2.0, float("inf"), -3.0, float("nan"), 0.0, 2.0])
    b = torch.tensor([float("inf"), 1.5, float("-inf"), 1.0, float("inf"), 1.5])
    expected = torch.tensor([float("inf"), float("inf"), float("inf"), float("nan"), float("nan"), 3.0])
    assert torch.equal(multiply(a, b, phases=phases, fp32=fp32).nan_to_num(7.0), expected.nan_to_num(7.0))
