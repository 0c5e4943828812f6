"""PCC against numpy.corrcoef, its invariances, and all the cases in which it is undefined."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_ttbringup.comparison import operands, pcc, scale_and_offset
from pytest_ttbringup.errors import BringupError

VALUES = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@st.composite
def pairs(draw):
    """Two float64 arrays of one shape, neither nearly constant."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))
    a, b = (draw(hnp.arrays(np.float64, shape, elements=VALUES)) for _ in range(2))
    assume(a.std() > 1e-3 and b.std() > 1e-3)
    return a, b


def corrcoef(a, b):
    return np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1]


@given(pairs())
def test_agrees_with_numpy(pair):
    assert pcc(*pair) == pytest.approx(corrcoef(*pair), abs=1e-9)


@given(pairs())
def test_is_symmetric(pair):
    a, b = pair
    assert pcc(a, b) == pcc(b, a)


@given(pairs(), st.floats(0.01, 100), st.floats(-100, 100))
def test_ignores_scale_and_offset(pair, scale, offset):
    a, b = pair
    assert pcc(scale * a + offset, b) == pytest.approx(pcc(a, b), abs=1e-9)
    assert pcc(-a, b) == pytest.approx(-pcc(a, b), abs=1e-12)


@given(pairs())
def test_of_a_tensor_with_itself_is_exactly_one(pair):
    assert pcc(pair[0], pair[0].copy()) == 1.0


@given(hnp.array_shapes(min_dims=1, max_dims=3, max_side=40), st.sampled_from([32, 64, 1024]), st.randoms())
def test_does_not_depend_on_block_boundaries(shape, block, randoms):
    random = np.random.default_rng(randoms.getrandbits(32))
    a, noise = random.standard_normal((2, *shape))
    b = a + 0.1 * noise
    whole = pcc(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operands, "BLOCK", block)
        assert pcc(a, b) == pytest.approx(whole, abs=1e-12, nan_ok=True)


@given(hnp.array_shapes(min_dims=0, max_dims=3, max_side=70), st.sampled_from([32, 64, 1024]))
def test_blocks_hold_every_element_once_in_order(shape, block):
    array = np.arange(math.prod(shape)).reshape(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operands, "BLOCK", block)
        parts = [array[index].reshape(-1) for index in operands.block_indices(shape)]
    assert max(len(part) for part in parts) <= block
    assert np.concatenate(parts).tolist() == list(range(array.size))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e8])
def test_huge_offset_with_tiny_variance(random, offset):
    # A naive sum of squares in float64 is wrong in the first digit from an offset of 1e8 on.
    a, noise = random.standard_normal((2, 5000))
    b = a + noise
    shifted_a, shifted_b = (offset + 1e-3 * x for x in (a, b))
    # What rounding the inputs to float64 at this offset leaves, taken back exactly.
    exact = corrcoef(shifted_a - offset, shifted_b - offset)
    assert pcc(shifted_a, shifted_b) == pytest.approx(exact, abs=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_first_block_unlike_the_rest(random):
    a = random.standard_normal(6400)
    a[:64] = 1e6
    b = a + 0.1 * random.standard_normal(6400)
    assert pcc(a, b) == pytest.approx(corrcoef(a, b), abs=1e-12)
    assert 1 - pcc(a, b) == pytest.approx(1 - corrcoef(a, b), rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_torch_dtypes(random, dtype):
    a = torch.from_numpy(random.standard_normal((3, 700))).to(dtype)
    b = (a + torch.from_numpy(0.1 * random.standard_normal((3, 700)))).to(dtype)
    assert pcc(a, b) == pytest.approx(corrcoef(a.double().numpy(), b.double().numpy()), abs=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_tensors_that_are_not_contiguous(random):
    a = torch.from_numpy(random.standard_normal((6, 50, 7))).bfloat16()
    b = a.float() + 0.1
    b[2] *= -1
    turned = pcc(a.permute(2, 0, 1)[:, ::2], b.permute(2, 0, 1)[:, ::2])
    assert turned == pytest.approx(pcc(a[::2].contiguous(), b[::2].contiguous()), abs=1e-12)


def test_tensors_that_need_gradients(random):
    a = torch.from_numpy(random.standard_normal(50)).requires_grad_()
    assert pcc(a, a * 2) == pytest.approx(1.0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7, 1 / 3, -1e30])
@pytest.mark.parametrize("size", [1, 2, 3, 50, 999, 1000])
def test_constant_is_undefined(random, constant, size):
    # Summed and divided, 0.1 is not the mean of 0.1s: a variance of 1e-34 must not pass for a variance.
    full, varied = np.full(size, constant), random.standard_normal(size)
    assert math.isnan(pcc(full, varied))
    assert math.isnan(pcc(varied, full))
    assert math.isnan(pcc(full, full))


def test_empty_is_undefined():
    assert math.isnan(pcc(np.zeros((0, 32)), np.zeros((0, 32))))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 70, 999])
def test_nan_and_inf_are_undefined(random, bad, place):
    a = random.standard_normal(1000)
    b = a.copy()
    b[place] = bad
    assert math.isnan(pcc(a, b))
    assert math.isnan(pcc(b, a))
    assert math.isnan(pcc(b, b))


def test_squares_beyond_float64_are_undefined_not_wrong(random):
    a = random.standard_normal(100)
    assert math.isnan(pcc(a * 1e200, a * 1e200))
    assert math.isnan(pcc(a * 1e-200, a * 1e-200))


def test_no_full_size_copy(random):
    a = random.standard_normal((4, 512, 1024), dtype=np.float32)
    turned = torch.from_numpy(a).bfloat16().permute(2, 0, 1)
    for actual, expected in ((a, a), (turned, turned.float())):
        tracemalloc.start()
        pcc(actual, expected)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < a.nbytes / 4


def test_other_shape_is_refused():
    with pytest.raises(BringupError, match=r"shape \[1, 3\] with shape \[3\]"):
        pcc(np.ones((1, 3)), np.ones(3))


@given(pairs(), st.floats(-100, 100), st.floats(-100, 100))
def test_scale_and_offset_of_a_fit(pair, scale, offset):
    expected, _ = pair
    assert scale_and_offset(scale * expected + offset, expected) == pytest.approx((scale, offset), abs=1e-5)
