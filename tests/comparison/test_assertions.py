"""The four assertions: each passes a right output and fails a wrong one."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from pytest_ttbringup.comparison import (
    ComparisonFailure,
    assert_allclose,
    assert_equal,
    assert_pcc,
    assert_ulp,
)
from pytest_ttbringup.errors import BringupError


def test_pcc(output, expected):
    assert assert_pcc(output, expected, name="mlp").pcc > 0.999
    with pytest.raises(AssertionError, match=r"PCC .* < 0\.999   mlp") as failure:
        assert_pcc(np.roll(output, 1, axis=0), expected, name="mlp")
    assert isinstance(failure.value, ComparisonFailure)
    assert str(failure.value) == failure.value.comparison.message()


def test_pcc_threshold(expected, random):
    noisy = expected + 0.2 * random.standard_normal(expected.shape)
    assert_pcc(noisy, expected, 0.97)
    with pytest.raises(ComparisonFailure):
        assert_pcc(noisy, expected, 0.99)


def test_allclose(output, expected):
    assert_allclose(output, expected, atol=0.01)
    assert_allclose(torch.from_numpy(expected).bfloat16(), expected)
    wrong = output.copy()
    wrong[0, 0, 0, 0] += 0.1
    with pytest.raises(ComparisonFailure, match="1 of 12800 elements beyond tolerance"):
        assert_allclose(wrong, expected, atol=0.01)
    with pytest.raises(ComparisonFailure, match="beyond tolerance"):
        assert_allclose(output, expected)  # float64: held to the tolerance of float32
    with pytest.raises(ComparisonFailure, match="beyond tolerance"):
        assert_allclose(output * 0.963, expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tensors_without_dimensions(dtype):
    two, three = (torch.tensor(value, dtype=dtype) for value in (2.0, 3.0))
    for check in (assert_allclose, assert_ulp, assert_equal):
        check(two, two)
        with pytest.raises(ComparisonFailure):
            check(two, three)


def test_allclose_of_one_element():
    assert_allclose(np.array(2.0), np.array(2.0))
    with pytest.raises(ComparisonFailure):
        assert_allclose(np.array(2.0), np.array(3.0))


def test_ulp(expected):
    rounded = torch.from_numpy(expected).bfloat16()
    assert assert_ulp(rounded, expected).ulp <= 0.5
    wrong = rounded.clone()
    wrong.view(torch.int16)[1, 2, 3, 4] += 3
    with pytest.raises(
        ComparisonFailure, match=r"ULP > 1 \(bfloat16\) at \[1, 2, 3, 4\]: output .*, reference"
    ) as failure:
        assert_ulp(wrong, expected)
    assert failure.value.comparison.record()["ulp"] > 2
    assert_ulp(wrong, expected, max_ulp=4)
    with pytest.raises(ComparisonFailure):
        assert_ulp(rounded, expected, dtype="float32")
    assert_ulp(rounded, expected, max_ulp=4, dtype="bfloat8_b")


@pytest.mark.parametrize("check", [assert_allclose, assert_ulp, assert_pcc])
@pytest.mark.parametrize("spoil", ["nan", "inf", "constant", "empty", "shape"])
def test_outputs_that_no_tolerance_excuses(expected, check, spoil):
    actual = expected.copy()
    if spoil in ("nan", "inf"):
        actual[0, 0, 0, 0] = expected[0, 0, 0, 0] = float(spoil)
    elif spoil == "constant":
        actual[:] = expected[:] = 1.0
    elif spoil == "empty":
        actual = expected = expected[:0]
    else:
        actual = actual[:, :1]
    with pytest.raises(ComparisonFailure):
        check(actual, expected)


def test_equal(expected, random):
    assert_equal(expected, expected.copy())
    assert_equal(np.zeros(3), -np.zeros(3))
    assert_equal(np.array([np.nan, 1]), np.array([np.nan, 1]))
    tokens = random.integers(0, 2**40, 1000)
    assert_equal(torch.from_numpy(tokens), tokens)
    wrong = tokens.copy()
    wrong[7] += 1
    with pytest.raises(
        ComparisonFailure, match=r"1 of 1000 elements differ(.|\n)*first .*output \d+, reference \d+ at \[7\]"
    ):
        assert_equal(wrong, tokens)
    with pytest.raises(ComparisonFailure, match="elements differ"):
        assert_equal(np.array([np.nan, 1]), np.array([1, np.nan]))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("place", [0, 63, 64, 999])
def test_equal_names_the_first_difference(random, place):
    tokens = random.integers(0, 1000, 1000)
    wrong = tokens.copy()
    wrong[[place, 999]] += 1
    with pytest.raises(ComparisonFailure) as failure:
        assert_equal(wrong, tokens, axes=("position",))
    assert failure.value.comparison.where == f"position {place}"


def test_equal_sees_what_float64_does_not():
    big = np.array([2**53, 5])
    with pytest.raises(ComparisonFailure):
        assert_equal(big + np.array([1, 0]), big)


@pytest.mark.parametrize("spoil", ["shape", "dtype", "empty"])
def test_equal_needs_like_tensors(expected, spoil):
    spoilt = {"shape": expected[None], "dtype": expected.astype(int), "empty": expected[:0]}[spoil]
    with pytest.raises(ComparisonFailure):
        assert_equal(spoilt, expected[:0] if spoil == "empty" else expected)


def test_equal_bfloat16_and_float32(expected):
    rounded = torch.from_numpy(expected).bfloat16()
    assert_equal(rounded, rounded.float())
    with pytest.raises(ComparisonFailure, match="elements differ"):
        assert_equal(rounded, expected)


def test_bad_arguments(expected):
    for call in (
        lambda: assert_pcc(expected, expected, 2),
        lambda: assert_allclose(expected, expected, rtol=-1),
        lambda: assert_ulp(expected, expected, max_ulp=-1),
        lambda: assert_ulp(expected, expected, dtype="float8"),
    ):
        with pytest.raises(BringupError):
            call()


@pytest.fixture
def ttnn(monkeypatch):
    """A stand-in for the module ttnn: tensors of one device, and one that to_torch refuses."""

    class Tensor:
        def __init__(self, values, dtype):
            self.values, self.shape, self.dtype = values, values.shape, types.SimpleNamespace(name=dtype)

    def to_torch(tensor):
        if tensor.dtype.name == "SPREAD":
            raise RuntimeError("needs a mesh composer")
        return tensor.values

    module = types.SimpleNamespace(Tensor=Tensor, to_torch=to_torch)
    monkeypatch.setitem(sys.modules, "ttnn", module)
    return module


def test_ttnn_tensors(ttnn, output, expected):
    tensor = ttnn.Tensor(torch.from_numpy(output).float(), "BFLOAT8_B")
    result = assert_pcc(tensor, expected)
    assert result.dtype == "bfloat8_b"
    assert result.tolerance.rtol == 2**-5
    with pytest.raises(ComparisonFailure, match="bfloat8_b against float64"):
        assert_pcc(ttnn.Tensor(torch.from_numpy(output).float().roll(1), "BFLOAT8_B"), expected)


def test_ttnn_tensor_of_several_devices(ttnn, output, expected):
    with pytest.raises(BringupError, match=r"gather it first.*mesh_composer"):
        assert_pcc(ttnn.Tensor(torch.from_numpy(output), "SPREAD"), expected)


def test_importing_and_using_it_imports_no_torch():
    code = (
        "import sys, numpy\n"
        "from pytest_ttbringup.comparison import assert_pcc\n"
        "assert_pcc(numpy.arange(9.0), numpy.arange(9.0))\n"
        "sys.exit(len({'torch', 'ttnn', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
