"""Compare TT-NN outputs with their references: metrics, assertions, and where and why two tensors differ.

Nothing here imports torch or ttnn: a tensor of theirs can only arrive where they are imported already.
"""

from __future__ import annotations

from pytest_ttbringup.comparison.assertions import (
    ComparisonFailure,
    assert_allclose,
    assert_equal,
    assert_pcc,
    assert_ulp,
)
from pytest_ttbringup.comparison.formats import default_tolerance, max_ulp
from pytest_ttbringup.comparison.localize import pcc_by_axis
from pytest_ttbringup.comparison.metrics import errors, pcc, scale_and_offset
from pytest_ttbringup.comparison.report import Comparison, compare_tensors
from pytest_ttbringup.comparison.tokens import TokenAccuracy, token_accuracy

__all__ = [
    "Comparison",
    "ComparisonFailure",
    "TokenAccuracy",
    "assert_allclose",
    "assert_equal",
    "assert_pcc",
    "assert_ulp",
    "compare_tensors",
    "default_tolerance",
    "errors",
    "max_ulp",
    "pcc",
    "pcc_by_axis",
    "scale_and_offset",
    "token_accuracy",
]
