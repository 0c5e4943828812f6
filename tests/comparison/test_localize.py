"""Names of axes, PCC along an axis and the worst tile."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_ttbringup.comparison import pcc, pcc_by_axis
from pytest_ttbringup.comparison.localize import Axes, worst_tile
from pytest_ttbringup.comparison.operands import as_operand
from pytest_ttbringup.errors import BringupError


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_pcc_by_axis_is_the_pcc_of_every_slice(random, expected, axis):
    actual = expected + random.standard_normal(expected.shape)
    slices = zip(np.moveaxis(actual, axis, 0), np.moveaxis(expected, axis, 0), strict=True)
    assert pcc_by_axis(actual, expected, axis) == pytest.approx([pcc(a, e) for a, e in slices], abs=1e-12)


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_without_a_pcc_are_nan(expected, axis):
    actual = np.moveaxis(expected.copy(), axis, 0)
    actual[1] = 0.1
    actual[2, 0, 0, 0] = math.nan
    actual = np.moveaxis(actual, 0, axis)
    found = pcc_by_axis(actual, expected, axis)
    assert np.flatnonzero(np.isnan(found)).tolist() == [1, 2]
    assert found[0] == pytest.approx(1.0)


def test_missing_axis_is_refused(expected):
    with pytest.raises(BringupError, match=r"axis 4 does not exist in shape \[4, 5, 40, 16\]"):
        pcc_by_axis(expected, expected, 4)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shape", [(3, 70, 100), (70, 100), (2, 2, 33, 31), (100,), (1,)])
def test_worst_tile_holds_the_greatest_error(random, shape):
    expected = random.standard_normal(shape)
    actual = expected + 0.01 * random.standard_normal(shape)
    place = tuple(int(random.integers(n)) for n in shape)
    actual[place] += 10
    tile = worst_tile(as_operand(actual), as_operand(expected))
    row, column = (0, 0, *place)[-2:]
    assert (tile.leading, tile.row, tile.column) == (place[:-2], row // 32 * 32, column // 32 * 32)
    assert 0.9 < tile.share <= 1
    assert tile.count == math.prod(shape[:-2]) * math.prod(-(-n // 32) for n in shape[-2:])


def test_equal_tensors_have_no_worst_tile(expected):
    assert worst_tile(as_operand(expected), as_operand(expected)) is None


def test_named_index():
    axes = Axes.resolve((None, None, "user", "head=9 dim"), (1, 1, 32, 576))
    assert axes.shape == (1, 1, 32, 9, 64)
    assert axes.where(17 * 576 + 4 * 64 + 55) == "user 17, head 4, dim 55"


def test_index_without_names():
    assert Axes.resolve(None, (2, 3)).where(4) == "[1, 1]"


def test_unnamed_axis_longer_than_one_keeps_its_number():
    assert Axes.resolve(("user", None, "dim"), (2, 3, 4)).where(23) == "user 1, axis 1 at 2, dim 3"


@pytest.mark.parametrize(
    "axes",
    [("user",), "user", ("user", "head=5 dim"), ("user", "head dim"), ("user", "head=x dim"), ("user", "head=2 dim=2")],
)
def test_axes_that_do_not_fit_are_refused(axes):
    with pytest.raises(BringupError, match="axes"):
        Axes.resolve(axes, (32, 64))
