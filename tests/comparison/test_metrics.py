"""Errors, ULP distances and default tolerances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_ttbringup.comparison import default_tolerance, errors, max_ulp
from pytest_ttbringup.errors import BringupError

NORMAL = st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda x: x == 0 or abs(x) >= 2.0**-100)


@pytest.mark.usefixtures("small_blocks")
def test_errors_of_a_known_difference():
    expected = np.arange(1.0, 301.0)
    actual = expected.copy()
    actual[200] += 8
    actual[3] -= 1
    found = errors(actual, expected, rtol=0.01, atol=0.5)
    assert (found.max_abs, found.max_abs_at, found.max_rel) == (8, 200, 0.25)
    assert found.relative_l2 == pytest.approx(math.sqrt(65) / np.linalg.norm(expected))
    # 8 > 0.5 + 2.01 and 1 > 0.5 + 0.04
    assert (found.beyond, found.elements) == (2, 300)
    assert found.share_beyond == 2 / 300
    assert errors(actual, expected, atol=8).beyond == 0


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3), elements=st.floats(-1e3, 1e3, width=32)))
def test_a_tensor_has_no_error_to_itself(values):
    found = errors(values, values)
    assert (found.max_abs, found.max_rel, found.relative_l2, found.beyond) == (0, 0, 0, 0)


def test_errors_against_zeros():
    found = errors(np.ones(4), np.zeros(4))
    assert (found.max_abs, found.max_rel, found.relative_l2) == (1, 0, math.inf)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3), elements=NORMAL))
def test_rounding_to_bfloat16_is_half_a_ulp_at_most(values):
    rounded = torch.from_numpy(values).bfloat16()
    assert max_ulp(rounded, values) <= 0.5


@given(NORMAL, st.integers(1, 5))
def test_neighbours_are_one_ulp_apart(value, steps):
    expected = torch.tensor([value, 1.0]).bfloat16()
    bits = expected.view(torch.int16)
    # Towards greater magnitude; some of the steps may lie in the next binade, where they are twice as long.
    actual = (bits + steps).view(torch.bfloat16)
    if value == 0:
        assert max_ulp(actual, expected) == steps  # the neighbour of 1.0; those of 0.0 are flushed
    else:
        assert steps <= max_ulp(actual, expected) <= 2 * steps


def test_float32_steps():
    expected = np.array([1.0, 3.0], dtype=np.float32)
    assert max_ulp(np.nextafter(expected, np.float32(9)), expected, "float32") == 1.0
    assert max_ulp(expected, expected, "float32") == 0.0


def test_below_one_the_steps_are_finer():
    # 0.99 and 1.0 are 2.56 steps of bfloat16 apart seen from below one, where a step is 2^-8.
    assert max_ulp(np.array([1.0]), np.array([0.99])) == pytest.approx(0.01 * 2**8)


def test_denormals_count_as_zero():
    assert max_ulp(np.array([1e-40]), np.array([0.0])) == 0
    assert max_ulp(np.array([2.0**-126]), np.array([0.0])) == 2**7


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat8_b", 6), ("bfloat4_b", 2)])
def test_block_formats_take_the_step_of_their_group(dtype, bits):
    # Two groups of 16 and one of 4: the steps follow the greatest of each.
    expected = np.full((1, 36), 0.25)
    expected[0, 3], expected[0, 20], expected[0, 35] = 1.5, -5.0, 0.75
    for place, exponent in ((0, 0), (17, 2), (32, -1)):
        actual = expected.copy()
        actual[0, place] += 2.0 ** (exponent - bits)
        assert max_ulp(actual, expected, dtype) == pytest.approx(1.0)


@pytest.mark.usefixtures("small_blocks")
def test_groups_are_not_cut_by_blocks():
    expected = np.full(1000, 1.0)
    expected[::16] = 100.0
    actual = expected + 1.0  # one step of bfloat8_b in a group whose greatest value is 100
    assert max_ulp(actual, expected, "bfloat8_b") == 1.0


def test_ulp_of_nan_is_nan():
    assert math.isnan(max_ulp(np.array([1.0, math.nan, 2.0]), np.array([1.0, 1.0, 1.0])))


def test_unknown_format_is_refused():
    with pytest.raises(BringupError, match=r"'float8'.*float32, bfloat16, bfloat8_b, bfloat4_b"):
        max_ulp(np.ones(2), np.ones(2), "float8")


def test_the_coarser_format_sets_the_tolerance():
    assert default_tolerance(["bfloat16", "float32"], 3.0) == default_tolerance(["float32", "bfloat16"], 3.0)
    relative = [default_tolerance([dtype], 2.0).rtol for dtype in ("float32", "bfloat16", "bfloat8_b", "bfloat4_b")]
    assert relative == sorted(relative)
    assert default_tolerance(["bfloat16"], 2.0).atol == 2 * default_tolerance(["bfloat16"], 2.0).rtol


def test_default_tolerance_agrees_with_torch():
    # torch.testing.assert_close: rtol 1.6e-2 for bfloat16, 1.3e-6 for float32.
    assert default_tolerance(["bfloat16"], 1.0).rtol == pytest.approx(1.6e-2, rel=0.05)
    assert default_tolerance(["float32"], 1.0).rtol == 1.3e-6
