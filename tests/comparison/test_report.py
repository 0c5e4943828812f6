"""Order of the checks, what a message says, and what is recorded."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from pytest_ttbringup.comparison import compare_tensors
from pytest_ttbringup.comparison import report as report_module
from pytest_ttbringup.errors import BringupError

AXES = ("user", "head", "position", "dim")


def compare(actual, expected, **options):
    return compare_tensors(actual, expected, **{"name": "mlp", "pcc_threshold": 0.999, "axes": None, **options})


def test_right_output_passes(output, expected):
    result = compare(output, expected, rtol=0, atol=0.1, max_scale_error=0.01, axes=AXES)
    assert result.passed
    assert result.reason == ""
    assert result.message().startswith("PCC 1.00000 >= 0.999   mlp   [4, 5, 40, 16] float64 against float64")


def test_checks_come_in_order(expected):
    """Each output has all the faults of the ones below it, and the first check that fails is named."""
    wrong = expected * -2
    broken = wrong.copy()
    broken[1, 2, 3, 4] = math.nan
    cases = [
        ("structure", (wrong,), expected),
        ("shape", wrong[None].astype(int), expected),
        ("dtype", broken.view(np.int64), expected),
        ("empty", expected[:0], expected[:0]),
        ("nonfinite", broken, expected),
        ("constant", np.full_like(expected, 7), expected),
        ("pcc", wrong, expected),
        ("scale", expected * 2, expected),
        ("tolerance", expected * 1.005, expected),
    ]
    for reason, actual, reference in cases:
        result = compare(actual, reference, max_scale_error=0.01, rtol=0.001)
        assert (result.passed, result.reason) == (False, reason)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ((1,), (1, 2)),
        ((1, 2), {"a": 1}),
        ({"a": 1}, {"b": 1}),
        (None, 1),
        ((1, None), (1, 2)),
        ({"a": {"b": (1, 2)}}, {"a": {"b": (1,)}}),
    ],
    ids=["length", "kind", "keys", "none", "missing", "nested"],
)
def test_structures_that_differ(actual, expected):
    def tensors(part):
        if isinstance(part, dict):
            return {key: tensors(value) for key, value in part.items()}
        if isinstance(part, tuple):
            return tuple(tensors(value) for value in part)
        return None if part is None else np.arange(5.0)

    result = compare(tensors(actual), tensors(expected))
    assert not result.passed
    assert result.reason == "structure"
    assert "instead of" in result.message()


def test_members_are_compared_one_by_one(output, expected):
    result = compare((output, [output, None]), [expected, (expected, None)])
    assert result.passed
    assert [part.name for part in result.parts] == ["mlp[0]", "mlp[1][0]"]
    wrong = compare({"q": output, "k": -output, "v": output}, {"q": expected, "k": expected, "v": expected})
    assert not wrong.passed
    assert [part.passed for part in wrong.parts] == [True, False, True]
    assert wrong.message().startswith("1 of 3 outputs differ; first: PCC -1.00000 < 0.999   mlp['k']")
    assert wrong.record()["parts"][1]["passed"] is False


def test_nothing_but_none_compares_nothing():
    assert compare((None,), (None,)).reason == "empty"
    assert compare((), ()).reason == "empty"


def test_kinds_of_dtype(random):
    tokens = random.integers(0, 100, 50)
    assert compare(torch.from_numpy(tokens).int(), tokens.astype(np.uint32)).passed
    assert compare(tokens.astype(np.float32), tokens).reason == "dtype"
    assert compare(tokens > 50, tokens).reason == "dtype"


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1])
def test_constants_fail_even_when_equal(expected, constant):
    full = np.full_like(expected, constant)
    for actual, reference in ((full, expected), (expected, full), (full, full)):
        result = compare(actual, reference)
        assert (result.passed, result.reason) == (False, "constant")
        assert "constant" in result.message()


def test_one_element_has_no_pcc():
    result = compare(np.array([2.0]), np.array([2.0]))
    assert result.reason == "constant"
    assert "assert_allclose" in result.hint


def test_values_beyond_float64_sums_fail(expected):
    result = compare(expected * 1e200, expected * 1e200)
    assert not result.passed
    assert "leave float64's range" in result.headline


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("side", ["output", "reference", "both"])
def test_nan_and_inf_fail_and_say_where(output, expected, side):
    place = (2, 1, 30, 5)
    if side != "reference":
        output[place] = math.nan
        output[2, 1, 39, 0] = -math.inf
    if side != "output":
        expected[place] = math.nan
    result = compare(output, expected, axes=AXES)
    assert result.reason == "nonfinite"
    assert result.where == "user 2, head 1, position 30, dim 5"
    text = result.message()
    assert text.startswith(f"NaN or inf in {1 if side == 'reference' else 2} of 12800 elements")
    assert "by user            NaN or inf in 1 of 4: user 2" in text
    assert ("mask those elements" in text) == (side == "both")


def test_the_format_of_the_output_sets_the_tolerance(output, expected):
    output[0] *= -1
    plain, block = (compare(output, expected, dtype=dtype) for dtype in (None, "bfloat8_b"))
    assert (plain.dtype, block.dtype) == ("float64", "bfloat8_b")
    assert block.tolerance.rtol == 2**-5
    assert block.errors.beyond < 3200 < plain.errors.beyond
    with pytest.raises(BringupError, match=r"'bfp8'.*bfloat8_b"):
        compare(output, expected, dtype="bfp8")


def test_a_failure_says_where(output, expected):
    output[2] += 3 * output[1]
    result = compare(output, expected, axes=AXES)
    assert result.where == "user 2"
    assert result.errors.beyond > 3200 * 0.9
    text = result.message().splitlines()
    assert text[0].startswith("PCC 0.55")
    assert "< 0.999   mlp   [4, 5, 40, 16] float64 against float64" in text[0]
    assert text[1].startswith(f"  beyond tolerance   {result.errors.beyond} of 12800 elements (")
    assert text[2].startswith("  furthest beyond    |difference| ")
    assert " at user 2, head " in text[2]
    assert "; allowed " in text[2]
    assert text[3].startswith("  by user            3 of 4 at 0.99999 or better; user 2: 0.3")
    assert text[4].startswith("  worst tile         [2, ")
    assert text[5].startswith("  scale ")
    assert text[5].endswith("; no NaN or inf")
    assert text[6].startswith("  one user differs: look at its position or its page-table row")
    assert len(text) == 7


def test_share_outside_tolerance(output, expected):
    output[0, 0] += 1
    result = compare(output, expected, rtol=0, atol=0.5)
    assert result.errors.beyond == 40 * 16
    assert "640 of 12800 elements (5.0 %)" in result.message()


def test_a_pcc_just_below_the_threshold_shows_it(expected, random):
    noisy = expected + 0.05 * random.standard_normal(expected.shape)
    pcc = compare(noisy, expected, pcc_threshold=0.5).pcc
    threshold = math.nextafter(pcc, 1)
    result = compare(noisy, expected, pcc_threshold=threshold)
    assert not result.passed
    assert float(result.headline.split()[1]) < threshold


def test_a_threshold_of_one_explains_itself(expected):
    rounded = torch.from_numpy(expected).bfloat16()
    result = compare(rounded, expected, pcc_threshold=1.0, axes=AXES)
    assert not result.passed
    assert "a threshold of 1.0 leaves no room for rounding" in result.message()
    assert "0.9999986 for bfloat16" in result.message()
    assert "leaves no room" not in compare(-rounded, expected).message()
    assert compare(expected, expected.copy(), pcc_threshold=1.0).passed


def test_rounding_alone_leaves_the_pcc_that_the_message_names(random):
    values = random.standard_normal(2**18)
    result = compare(torch.from_numpy(values).bfloat16(), values)
    assert result.pcc == pytest.approx(0.9999986, abs=1e-7)


@pytest.mark.parametrize("threshold", [2, -0.1, math.nan, math.inf, "0.9", True])
def test_thresholds_that_are_not_allowed(expected, threshold):
    with pytest.raises(BringupError, match="from 0 to 1"):
        compare(expected, expected, pcc_threshold=threshold)


@pytest.mark.parametrize("option", ["rtol", "atol", "max_scale_error"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_tolerances_that_are_not_allowed(expected, option, value):
    with pytest.raises(BringupError, match=option):
        compare(expected, expected, **{option: value})


def test_axes_are_checked_on_a_pass_too(output, expected):
    with pytest.raises(BringupError, match="axes must name every dimension"):
        compare(output, expected, axes=("user", "head"))


@pytest.mark.parametrize(
    "value", ["text", object(), 1 + 2j, np.array(["a"])], ids=["str", "object", "complex", "strings"]
)
def test_values_that_are_no_tensors(expected, value):
    with pytest.raises(BringupError, match="Cannot compare"):
        compare(value, expected)


def test_scale_is_told_on_a_pass_and_fails_on_request(output, expected):
    shrunk = output * 0.963
    result = compare(shrunk, expected)
    assert result.passed
    assert result.scale == pytest.approx(0.963, abs=1e-4)
    assert "LoFi" in result.message()
    assert compare(shrunk, expected, max_scale_error=0.02).reason == "scale"
    assert compare(shrunk, expected, max_scale_error=0.05).passed


def test_the_analysis_runs_on_failure_only(output, expected, monkeypatch):
    def refuse(*_):
        pytest.fail("analysed")

    monkeypatch.setattr(report_module, "_explained", refuse)
    assert compare(output, expected, axes=AXES).passed


@pytest.mark.parametrize("kind", ["pass", "pcc", "nonfinite", "shape", "structure", "members"])
def test_records_are_plain_types(output, expected, kind):
    actual = {
        "pass": output,
        "pcc": -output,
        "nonfinite": np.full_like(output, np.nan),
        "shape": output[0],
        "structure": (output,),
        "members": (output, output[0]),
    }[kind]
    result = compare(actual, (expected, expected) if kind == "members" else expected, axes=AXES)
    record = result.record()
    # Strict JSON: no NaN, and only str, int, float, bool, None, list and dict.
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["kind"] == "comparison"
    assert record["passed"] is (kind == "pass")
    assert record["threshold"] == 0.999


def test_record_has_the_figures(output, expected):
    record = compare(torch.from_numpy(output).bfloat16(), torch.from_numpy(expected).float()).record()
    assert record["pcc"] > 0.9999
    assert record["scale"] == pytest.approx(1, abs=1e-3)
    assert 0 < record["relative_l2"] < 0.01
    assert record["max_abs"] > 0
    assert (record["shape"], record["elements"]) == ([4, 5, 40, 16], 12800)
    assert (record["dtype"], record["reference_dtype"]) == ("bfloat16", "float32")


def test_scale_and_offset_that_pcc_does_not_see_have_limits(output, expected):
    limits = {"max_scale_error": 0.02, "max_offset_error": 0.02}
    assert compare(output, expected, **limits).passed
    for factor in (0.96, 1.05, 2.0):
        assert compare(output * factor, expected).passed
        assert compare(output * factor, expected, **limits).reason == "scale"
    assert compare(output + 0.05, expected).passed
    result = compare(output + 0.05, expected, **limits)
    assert result.reason == "offset"
    assert result.message().startswith("offset 0.05")
    assert result.record()["offset_error"] == pytest.approx(0.05, rel=0.1)
    assert compare(1000 * output + 5, 1000 * expected, **limits).passed, "the offset counts against the reference's RMS"


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
def test_integers_and_bools_must_be_equal(random, dtype):
    expected = (random.integers(0, 2, 4096) if dtype is bool else random.integers(0, 200, 4096)).astype(dtype)
    assert compare(expected.copy(), expected, max_scale_error=0.02).passed
    wrong = expected.copy()
    wrong[17] = not wrong[17] if dtype is bool else wrong[17] + 1
    result = compare(wrong, expected, axes=["user"])
    assert (result.reason, result.where) == ("unequal", "user 17")
    off_by_one = compare(np.arange(64) + 1, np.arange(64))
    assert off_by_one.reason == "unequal"
    assert compare(np.arange(64) + 1, np.arange(64), atol=1).passed, "a tolerance may still be asked for"


def test_the_element_shown_is_one_beyond_tolerance():
    expected = np.linspace(1, 100, 1000)
    actual = expected.copy()
    actual[-1] += 1.0  # the greatest difference, within 2 %
    actual[0] += 0.5  # smaller, and beyond it
    result = compare(actual, expected, rtol=0.02)
    line = next(line for line in result.details if "|difference|" in line)
    assert line.startswith("furthest beyond    |difference| 0.5 at [0]; allowed 0.02")
    assert result.where == "[0]"


def test_none_against_none_is_told_plainly():
    result = compare(None, None)
    assert result.reason == "empty"
    assert result.message().startswith("nothing to compare: output and reference are both None")
