"""The element-wise loops and attention's weights by hand, and products against the rules in fractions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ttbringup.emulation.numerics import vector_unit
from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.multiplying import multiply
from pytest_ttbringup.emulation.numerics.reducing import row_sums
from pytest_ttbringup.emulation.numerics.rotary import rotate

from .rules import multiply_16

pytestmark = pytest.mark.usefixtures("_compiled")

INF, NAN = float("inf"), float("nan")


def bits(*values: int) -> torch.Tensor:
    return torch.tensor(np.array(values, np.uint32).view(np.float32))


def same(result: torch.Tensor, *expected: float) -> bool:
    return torch.equal(result.nan_to_num(7.0, INF, -INF), torch.tensor(expected).nan_to_num(7.0, INF, -INF))


tf32 = st.builds(
    lambda sign, mantissa, exponent: sign * (1 + mantissa / 1024) * 2.0**exponent,
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.integers(0, 1023),
    st.integers(-9, 9),
)


class TestProducts:
    @pytest.mark.parametrize("phases", [1, 2, 3, 4])
    @settings(max_examples=100)
    @given(a=tf32, b=tf32)
    def test_with_bf16_destinations_are_the_rules(self, a: float, b: float, phases: int) -> None:
        expected = 0.0
        for phase in range(phases):
            expected = multiply_16([b], [a], expected, phase=phase, fp32=False)
        assert multiply(torch.tensor([a]), torch.tensor([b]), phases=phases, fp32=False).item() == expected

    def test_with_fp32_destinations_have_what_bits_the_phases_multiply(self) -> None:
        ones = bits(0x3FFFE000)  # 1.1111111111b, of which SrcA multiplies five and ten bits, SrcB seven and eleven
        five, seven, ten, eleven = (2 - 2.0 ** (1 - kept) for kept in (5, 7, 10, 11))
        expected = [five * seven, ten * seven, ten * seven + five * (eleven - seven), ten * eleven]
        for phases, value in enumerate(expected, start=1):
            assert multiply(ones, ones, phases=phases, fp32=True).item() == value

    @pytest.mark.parametrize("fp32", [False, True])
    def test_of_one_value_with_many_are_those_of_its_copies(self, fp32: bool) -> None:
        generator = torch.Generator().manual_seed(1)
        a = torch.randn(3, 4, 5, generator=generator)
        for shape in ((1,), (5,), (3, 4, 1), (4, 1), (3, 1, 5), (1, 1, 1, 1), (2, 3, 4, 1)):
            b = torch.randn(shape, generator=generator)
            for phases in (1, 2, 3, 4):
                written_out = (it.contiguous() for it in torch.broadcast_tensors(a, b))
                assert torch.equal(
                    multiply(a, b, phases=phases, fp32=fp32), multiply(*written_out, phases=phases, fp32=fp32)
                )
            written_out = (it.contiguous() for it in torch.broadcast_tensors(a, b))
            assert torch.equal(add(a, b, fp32=fp32), add(*written_out, fp32=fp32))

    def test_as_many_rows_as_columns(self) -> None:
        a, column = torch.ones(3, 3), torch.tensor([[1.0], [2.0], [3.0]])
        assert torch.equal(multiply(a, column, phases=1, fp32=True), column.expand(3, 3))
        assert torch.equal(multiply(a, column.T, phases=1, fp32=True), column.T.expand(3, 3))
        assert torch.equal(multiply(a, column.expand(3, 3).T, phases=1, fp32=True), column.T.expand(3, 3))

    def test_a_square_of_rows(self) -> None:
        b = torch.tensor([1.0, 2.0])[:, None, None]  # as many values as rows of [2, 1, 3] have, and as [1, 2, 3] has
        assert torch.equal(multiply(torch.ones(1, 2, 3), b, phases=1, fp32=True), b.expand(2, 2, 3))


class TestFunctions:
    def test_exp_at_its_ends(self) -> None:
        x = torch.tensor([-INF, -100.0, -87.5, 0.0, 88.5, 89.0, INF, NAN])
        assert same(vector_unit.exp(x)[[0, 1, 2, 3, 5, 6, 7]], 0.0, 0.0, 0.0, 1.0, INF, INF, NAN)
        assert vector_unit.exp(x)[4].isfinite()

    def test_exps_last_coefficient(self) -> None:
        # a power of two is the coefficient itself; half of BF16's unit is 2 ** -8, so that a float32 shows it
        assert vector_unit._exp_21f(torch.zeros(1), rounded=False).item() == np.float32(1.0017248)

    def test_a_sigmoid_at_its_ends(self) -> None:
        assert same(vector_unit.sigmoid(torch.tensor([-INF, -90.0, 0.0, INF, NAN])), 0.0, 0.0, 0.5, 1.0, NAN)
        # 1 + exp(80) is above 2 ** 100, where the reciprocal is a division
        assert vector_unit.sigmoid(torch.tensor([-80.0])).item() == pytest.approx(1.8049e-35, rel=4e-3)

    def test_silu_rounds_once(self) -> None:
        x = (torch.arange(1, 512) / 64).bfloat16().float()
        twice = (x * vector_unit.sigmoid(x)).bfloat16().float()
        once = vector_unit.silu(x)
        exact = x.double() * torch.sigmoid(x.double())
        assert not torch.equal(once, twice)
        assert (once - exact).abs().sum() < (twice - exact).abs().sum()


class TestRounding:
    def test_ties_to_even(self) -> None:
        from pytest_ttbringup.emulation.numerics.compiled import scalars

        for value, expected in ((0x3F808000, 0x3F800000), (0x3F818000, 0x3F820000), (0x3F808001, 0x3F810000)):
            assert scalars.even(bits(value).numpy()[0]) == bits(expected).item()
        assert np.isnan(scalars.even(bits(0x7FFFFFFF).numpy()[0]))  # and no carry makes it -0


def weigh(
    scores: torch.Tensor,
    *,
    hidden: torch.Tensor | None = None,
    last: list[float] | None = None,
    packed: bool = False,
    fp32: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    from pytest_ttbringup.emulation.numerics.compiled import weighing

    rows = scores.shape[0]
    peak, out = np.empty(rows, np.float32), np.empty(tuple(scores.shape), np.float32)
    flags = (torch.zeros(scores.shape, dtype=torch.bool) if hidden is None else hidden).numpy()
    before = np.full(rows, -np.inf, np.float32) if last is None else np.array(last, np.float32)
    weighing.below_peak(scores.numpy(), flags, before, peak, out, packed, fp32)
    return torch.from_numpy(peak), torch.from_numpy(out)


class TestWeights:
    def test_the_greatest_is_cut_to_bf16_and_subtracted(self) -> None:
        score = 1 + 2.0**-7 + 2.0**-8 + 2.0**-9
        peak, out = weigh(torch.tensor([[score, -3.0], [-4.0, -2.0]]))
        assert peak.tolist() == [1 + 2.0**-7, -2.0]
        assert out.tolist() == [[2.0**-8 + 2.0**-9, -4 - 2.0**-7], [-2.0, 0.0]]
        peak, out = weigh(torch.tensor([[score, -3.0]]), packed=True)  # rounded to BF16 before
        assert peak.tolist() == [1 + 2.0**-6]
        assert out[0, 0] == 0.0
        peak, out = weigh(torch.tensor([[1.0, -(2.0**-8)]]), fp32=False)
        assert out.tolist() == [[0.0, -1 - 2.0**-7]]

    def test_what_is_hidden_counts_for_nothing(self) -> None:
        hidden = torch.tensor([[True, False], [True, True]])
        peak, out = weigh(torch.tensor([[5.0, 1.0], [5.0, 1.0]]), hidden=hidden)
        assert peak[0] == 1.0
        assert peak[1] < -9e29
        assert out.tolist() == [[-INF, 0.0], [-INF, -INF]]

    def test_earlier_chunks_count(self) -> None:
        peak, out = weigh(torch.tensor([[1.0], [1.0], [NAN], [1.0]]), last=[3.0, 0.5, 1.0, NAN])
        assert same(peak, 3.0, 1.0, NAN, NAN)
        assert same(out[:, 0], -2.0, 0.0, NAN, NAN)

    def test_coarse_ones(self) -> None:
        from pytest_ttbringup.emulation.numerics.compiled import weighing

        def coarse(*, fp32: bool, packed: bool) -> torch.Tensor:
            x = np.array([0.0, 0.0, -1.0, -1000.0, 20.0, np.nan], np.float32)
            hidden = np.array([False, True, False, False, False, False])
            weighing.coarse_weights(x, hidden, 256 / np.log(2), fp32, packed)
            return torch.from_numpy(x)

        # units of 2 ** 15 of a float's bits: 32500.82 of them at 0 and 256 / ln 2 = 369.33 for each 1
        units = [32501, 0, 32131, 0, 32767]  # the second is hidden, the fourth below zero, the last all there are
        assert same(coarse(fp32=True, packed=False), *bits(*(it << 15 for it in units)).tolist(), NAN)
        assert same(coarse(fp32=True, packed=True), *bits(*((it + it % 2) << 15 for it in units)).tolist(), NAN)
        assert same(coarse(fp32=False, packed=True), *bits(*((it - it % 2) << 15 for it in units)).tolist(), NAN)

    @pytest.mark.parametrize("packed", [False, True])
    def test_accurate_ones(self, packed: bool) -> None:
        from pytest_ttbringup.emulation.numerics.compiled import weighing

        weights = np.array([1 + 2.0**-8, 1.0, np.nan], np.float32)
        weighing.masked_weights(weights, np.array([False, True, True]), packed)
        assert weights.tolist() == [1 + (2.0**-7 if packed else 2.0**-8), 0.0, 0.0]


def test_rotary_products_and_their_sum_are_packed() -> None:
    def rotated(x: float, y: float, *, fp32: bool) -> float:
        one = torch.ones(1)
        return rotate(torch.tensor([x]), torch.tensor([y]), one, one, KernelConfig(4, fp32)).item()

    for fp32 in (False, True):
        assert rotated(1 + 2.0**-8, 0.0, fp32=fp32) == 1 + 2.0**-7  # the product
        assert rotated(1 + 2.0**-8, -1 - 2.0**-7, fp32=fp32) == 0.0
        assert rotated(1.0, 2.0**-8, fp32=fp32) == 1 + 2.0**-7  # the sum


class TestRowSums:
    @pytest.mark.parametrize("fp32", [False, True])
    @pytest.mark.parametrize("scaler", [1.0, 0.74609375, -1.0])
    @pytest.mark.parametrize("phases", [1, 2, 3, 4])
    @settings(max_examples=30)
    @given(x=st.lists(tf32, min_size=40, max_size=40))
    def test_are_the_rules(self, x: list[float], phases: int, scaler: float, fp32: bool) -> None:
        expected = 0.0
        for tile in (x[:32], x[32:]):
            for phase in range(phases):
                for half in (tile[:16], tile[16:]):
                    expected = multiply_16(half, [scaler] * len(half), expected, phase=phase, fp32=fp32)
        config = KernelConfig(phases, fp32)
        assert row_sums(torch.tensor([x]), config, scaler=scaler).item() == expected

    def test_a_row_that_is_not_finite_leaves_the_others(self) -> None:
        x = torch.ones(20, 33)
        x[3, 32], x[17, 5] = INF, NAN
        expected = torch.full((20, 1), 33.0)
        expected[3], expected[17] = INF, NAN
        assert same(row_sums(x, KernelConfig(4, fp32=True)), *expected.tolist())
