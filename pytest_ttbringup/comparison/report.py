"""Compare two tensors: which check fails first, and everything a reader needs to find out why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_ttbringup.comparison.explain import (
    Measured,
    difference_lines,
    fit_text,
    nonfinite_lines,
    number,
    pcc_text,
    shape_hint,
)
from pytest_ttbringup.comparison.formats import sensible_threshold_note, ulp_errors
from pytest_ttbringup.comparison.hints import difference_hint, scale_hint
from pytest_ttbringup.comparison.localize import Axes, fit_slices
from pytest_ttbringup.comparison.metrics import Moments, element_errors, moments
from pytest_ttbringup.comparison.operands import Operand, as_operand, block_indices
from pytest_ttbringup.comparison.result import Comparison, Criteria

__all__ = ["Comparison", "Criteria", "compare", "compare_tensors"]

# Which slices count as right where no PCC threshold was asked for: the floor recommended for a module.
_SLICE_FLOOR = 0.999
# Above this the rounding of an output to bfloat16 (1 - 1.4e-6) leaves next to nothing for the arithmetic before it.
_BEYOND_ROUNDING = 0.99999
# As many wrong slices of an axis are named as the place of a difference.
_FEW = 4


def compare_tensors(
    actual: object,
    expected: object,
    *,
    name: str = "",
    pcc_threshold: float,
    rtol: float | None = None,
    atol: float | None = None,
    max_scale_error: float | None = None,
    max_offset_error: float | None = None,
    axes: Sequence[str | None] | None = None,
    dtype: str | None = None,
) -> Comparison:
    """Compare an output with its reference and say where and why they differ. Asserts nothing: see assert_pcc.

    actual, expected: torch, NumPy or TT-NN tensors, or tuples, lists or dicts of them. Checked in this order:
    structure, shape, kind of dtype (float, integer, bool), elements present, NaN and inf, constant output or reference,
    PCC, then, if given, max_scale_error and max_offset_error (|scale - 1|, and |offset| in units of the root mean
    square of expected, of the fit actual = scale * expected + offset, which PCC can not see) and
    |difference| <= atol + rtol * |expected|. An undefined PCC fails.

    Integers and bools are names (tokens, indices, masks), which are right or wrong: on both sides, they must be equal,
    whatever the PCC, unless rtol or atol is given.

    axes names the dimensions ("user", "head", "position", "dim" or any other word, None for no name; "head=9 dim"
    splits a fused dimension), so that a failure says where. The analysis behind that runs on failure only.

    dtype is the output's number format where the tensor does not tell it: a bfloat8_b tensor that went through
    ttnn.to_torch is float32. It sets the tolerance that a failure counts elements by, when no rtol or atol is given.

    Raises BringupError for a threshold outside 0..1, a negative tolerance, axes that do not fit, or a value that is no
    tensor.
    """
    criteria = Criteria(
        pcc_threshold=pcc_threshold,
        rtol=rtol,
        atol=atol,
        max_scale_error=max_scale_error,
        max_offset_error=max_offset_error,
        output_dtype=dtype,
    )
    return compare(actual, expected, criteria, name=name, axes=axes)


def compare(
    actual: object,
    expected: object,
    criteria: Criteria,
    *,
    name: str = "",
    axes: Sequence[str | None] | None = None,
) -> Comparison:
    """Compare as compare_tensors() does, with any criteria."""
    if actual is None and expected is None:
        result = Comparison(name, "", "", pcc_threshold=criteria.pcc_threshold)
        hint = "does each function return its result?"
        result = replace(result, hint=hint, details=_lines(hint))
        return _concluded(result, "empty", "nothing to compare: output and reference are both None")
    if _is_structure(actual) or _is_structure(expected):
        return _compare_members(actual, expected, criteria, name, axes)
    a, e = as_operand(actual), as_operand(expected)
    if criteria.output_dtype:
        a = replace(a, dtype=criteria.output_dtype)
    result = Comparison(name, "", "", a.shape, e.shape, a.dtype, e.dtype, pcc_threshold=criteria.pcc_threshold)
    if a.shape != e.shape:
        hint = shape_hint(a, e)
        result = replace(result, hint=hint, details=_lines(hint))
        return _concluded(result, "shape", f"shape {list(a.shape)} instead of {list(e.shape)}")
    named = Axes.resolve(axes, a.shape)
    if a.kind != e.kind:
        return _concluded(result, "dtype", f"dtype {a.dtype} ({a.kind}) instead of {e.dtype} ({e.kind})")
    if a.size == 0:
        return _concluded(result, "empty", "nothing to compare: no elements")
    exact = a.kind != "float" and criteria.pcc_threshold is not None and not criteria.checks_tolerance
    if criteria.equal or exact:
        return _compare_equal(a, e, criteria, result, named)
    return _compare_values(a, e, criteria, result, named)


def _compare_values(a: Operand, e: Operand, criteria: Criteria, result: Comparison, axes: Axes) -> Comparison:
    overall = moments(a, e)
    if not overall.finite:
        finding, lines, where = nonfinite_lines(a, e, axes)
        return _concluded(replace(result, details=_lines(*lines), where=where), "nonfinite", finding)
    measured = _measured(a, e, criteria, axes, overall)
    result = _with_figures(result, measured)
    constant = _constant_finding(overall, criteria, a.size)
    if constant:
        finding, hint = constant
        return _concluded(replace(result, hint=hint, details=_lines(hint)), "constant", finding)
    ulp_at = 0
    if criteria.max_ulp is not None:
        ulp, ulp_at = ulp_errors(a, e, criteria.ulp_dtype)
        result = replace(result, ulp=ulp)
    reason, finding = _first_failure(result, criteria, measured.errors.beyond)
    if not reason:
        hint = scale_hint(overall)
        details = _lines(fit_text(overall, measured.errors), hint)
        return _concluded(replace(result, hint=hint, details=details), "", finding)
    if reason == "ulp":
        finding += f" at {axes.where(ulp_at)}: output {number(a.at(ulp_at))}, reference {number(e.at(ulp_at))}"
    return _concluded(_explained(result, measured), reason, finding)


def _compare_equal(a: Operand, e: Operand, criteria: Criteria, result: Comparison, axes: Axes) -> Comparison:
    """Compare for equal values at every place; NaN equals NaN, and -0.0 equals 0.0."""
    count = first = done = 0
    for index in block_indices(a.shape):
        x, y = a.native(index), e.native(index)
        differs = (x != y) & ~((x != x) & (y != y))
        if not count and differs.any():
            first = done + int(differs.argmax())
        count += int(np.count_nonzero(differs))
        done += differs.size
    if not count:
        return _concluded(result, "", f"all {a.size} elements equal")
    line = f"first              output {a.at(first)}, reference {e.at(first)} at {axes.where(first)}"
    overall = moments(a, e)
    if a.kind == "float" and overall.finite:
        measured = _measured(a, e, criteria, axes, overall)
        result = _explained(_with_figures(result, measured), measured)
    result = replace(result, where=result.where or axes.where(first), details=(line, *result.details))
    return _concluded(result, "unequal", f"{count} of {a.size} elements differ")


def _compare_members(
    actual: object, expected: object, criteria: Criteria, name: str, axes: Sequence[str | None] | None
) -> Comparison:
    result = Comparison(name, "", "", pcc_threshold=criteria.pcc_threshold)
    mine, theirs = _members(actual), _members(expected)
    if mine is None or theirs is None or list(mine) != list(theirs):
        return _concluded(result, "structure", f"{_described(actual)} instead of {_described(expected)}")
    parts = tuple(
        compare(mine[key], theirs[key], criteria, name=f"{name}[{key!r}]", axes=axes)
        for key in mine
        if not (mine[key] is None and theirs[key] is None)
    )
    if not parts:
        return _concluded(result, "empty", "nothing to compare: no tensors")
    failed = [part for part in parts if not part.passed]
    shown = failed[0] if failed else min(parts, key=lambda part: math.inf if math.isnan(part.pcc) else part.pcc)
    return replace(shown, parts=parts)


def _measured(a: Operand, e: Operand, criteria: Criteria, axes: Axes, overall: Moments) -> Measured:
    tolerance = criteria.tolerance((a.dtype, e.dtype), overall.expected_rms)
    return Measured(a, e, axes, overall, element_errors(a, e, tolerance.rtol, tolerance.atol), tolerance)


def _with_figures(result: Comparison, measured: Measured) -> Comparison:
    overall = measured.overall
    return replace(
        result,
        pcc=overall.pcc,
        scale=overall.scale,
        offset=overall.offset,
        offset_error=overall.offset_error,
        errors=measured.errors,
        tolerance=measured.tolerance,
    )


def _constant_finding(overall: Moments, criteria: Criteria, size: int) -> tuple[str, str] | None:
    """Return (finding, hint) if one of the tensors says nothing. A single element has only its tolerance or ULP."""
    if not math.isnan(overall.pcc) or (size == 1 and criteria.pcc_threshold is None):
        return None
    if size == 1:
        return (
            "PCC undefined: one element has no correlation",
            "compare one value with assert_allclose or assert_ulp",
        )
    if overall.actual_squares <= 0:
        finding = f"PCC undefined: the output is constant ({number(overall.mean_actual)} everywhere)"
        if overall.expected_squares > 0:
            zeros = overall.mean_actual == 0
            return finding, "the output is all zeros: was it computed and written at all?" if zeros else ""
        finding += f", the reference too ({number(overall.mean_expected)})"
        return (
            finding,
            "a constant tells nothing about the op: use other inputs, or assert_equal if a constant is right",
        )
    if overall.expected_squares <= 0:
        finding = f"PCC undefined: the reference is constant ({number(overall.mean_expected)} everywhere)"
        return finding, "a constant reference tells nothing about the op: use other inputs"
    return "PCC undefined: the squares of the values leave float64's range", ""


def _first_failure(result: Comparison, criteria: Criteria, beyond: int) -> tuple[str, str]:
    """Return (reason, finding) of the first figure that misses its criterion, or ("", finding) when all are met."""
    threshold, ulp, elements = criteria.pcc_threshold, result.ulp, math.prod(result.shape)
    if threshold is not None and not result.pcc >= threshold:
        return "pcc", f"PCC {pcc_text(result.pcc, threshold)} < {threshold}"
    if criteria.max_scale_error is not None and not abs(result.scale - 1) <= criteria.max_scale_error:
        return "scale", f"scale {result.scale:.4f} is off by more than {criteria.max_scale_error}"
    if criteria.max_offset_error is not None and not result.offset_error <= criteria.max_offset_error:
        share = f"{number(result.offset_error)} of the reference's RMS"
        return "offset", f"offset {number(result.offset)} is {share}, more than {criteria.max_offset_error}"
    if criteria.checks_tolerance and beyond:
        return "tolerance", f"{beyond} of {elements} elements beyond tolerance"
    if ulp is not None and criteria.max_ulp is not None and not ulp <= criteria.max_ulp:
        return "ulp", f"{number(ulp)} ULP > {criteria.max_ulp} ({criteria.ulp_dtype})"
    if threshold is not None:
        return "", f"PCC {result.pcc:.5f} >= {threshold}"
    if ulp is not None:
        return "", f"{number(ulp)} ULP <= {criteria.max_ulp} ({criteria.ulp_dtype})"
    return "", f"all {elements} elements within tolerance"


def _explained(result: Comparison, measured: Measured) -> Comparison:
    """Add where the difference lies, and which known pattern it follows."""
    threshold, axes = result.pcc_threshold, measured.axes
    strict = threshold is not None and threshold > _BEYOND_ROUNDING
    floor = _SLICE_FLOOR if threshold is None or strict else threshold
    a, e = (x.view(x.data.reshape(axes.shape)) for x in (measured.actual, measured.expected))
    slices = {axis: fit_slices(a, e, axis) for axis in axes.telling()}
    wrong = {axis: fits.wrong(floor) for axis, fits in slices.items()}
    few = [
        f"{axes.label(axis)} {', '.join(map(str, bad))}"
        for axis, bad in wrong.items()
        if 0 < len(bad) <= min(_FEW, axes.shape[axis] - 1)
    ]
    hint = difference_hint(a, e, axes, measured.overall, wrong) if a.kind == "float" else ""
    note = sensible_threshold_note(threshold) if threshold is not None and strict else ""
    where = ", ".join(few) or axes.where(
        measured.errors.furthest_at if measured.errors.beyond else measured.errors.max_abs_at
    )
    lines = difference_lines(measured, slices, floor)
    return replace(result, where=where, hint=hint, details=_lines(*lines, hint, note))


def _is_structure(value: object) -> bool:
    return value is None or isinstance(value, (tuple, list, Mapping))


def _members(value: object) -> dict[Any, object] | None:
    """Return the members of a tuple, list or dict by key, else None. Tuples and lists count as one kind."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    return None


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict with keys {list(value)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"one {type(value).__name__}"


def _concluded(result: Comparison, reason: str, finding: str) -> Comparison:
    """Give the result its reason and headline; shape and formats are left out where the finding names them."""
    parts = [finding, result.name]
    if reason not in ("structure", "shape") and result.dtype:
        against = "" if reason == "dtype" else f" {result.dtype} against {result.expected_dtype}"
        parts.append(f"{list(result.shape)}{against}")
    return replace(result, reason=reason, headline="   ".join(part for part in parts if part))


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)
