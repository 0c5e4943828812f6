"""Assertions for tests, with or without the plugin's fixtures. Each returns the Comparison when it holds."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ttbringup.comparison.report import Comparison, Criteria, compare


class ComparisonFailure(AssertionError):
    """A comparison that failed; its text is comparison.message()."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison)
        self.comparison = comparison

    def __str__(self) -> str:
        return self.comparison.message()


def assert_pcc(
    actual: object,
    expected: object,
    threshold: float = 0.999,
    *,
    name: str = "",
    axes: Sequence[str | None] | None = None,
) -> Comparison:
    """Assert that the Pearson correlation coefficient is at least threshold.

    compare_tensors() says what else is checked, and what axes does. Raises ComparisonFailure, or BringupError for a
    threshold outside 0..1.
    """
    __tracebackhide__ = True
    return _held(compare(actual, expected, Criteria(pcc_threshold=threshold), name=name, axes=axes))


def assert_allclose(
    actual: object,
    expected: object,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    name: str = "",
    axes: Sequence[str | None] | None = None,
) -> Comparison:
    """Assert |actual - expected| <= atol + rtol * |expected| for every element.

    Neither given: the default of the coarser of the two formats (formats.default_tolerance). One given: the other is 0.
    NaN, inf and constant tensors fail as in assert_pcc; a single element is compared. Raises ComparisonFailure.
    """
    __tracebackhide__ = True
    criteria = Criteria(rtol=rtol, atol=atol, within_default_tolerance=True)
    return _held(compare(actual, expected, criteria, name=name, axes=axes))


def assert_ulp(
    actual: object,
    expected: object,
    *,
    max_ulp: float = 1,
    dtype: str = "bfloat16",
    name: str = "",
    axes: Sequence[str | None] | None = None,
) -> Comparison:
    """Assert that no element is more than max_ulp units in the last place of dtype from the expected (formats.max_ulp).

    NaN, inf and constant tensors fail as in assert_pcc; a single element is compared. Raises ComparisonFailure, or
    BringupError for a dtype other than float32, bfloat16, bfloat8_b and bfloat4_b.
    """
    __tracebackhide__ = True
    return _held(compare(actual, expected, Criteria(max_ulp=max_ulp, ulp_dtype=dtype), name=name, axes=axes))


def assert_equal(
    actual: object,
    expected: object,
    *,
    name: str = "",
    axes: Sequence[str | None] | None = None,
) -> Comparison:
    """Assert equal shapes, kinds of dtype and values; NaN equals NaN and -0.0 equals 0.0.

    The only assertion that constant tensors can meet. Raises ComparisonFailure, also when there is no element at all.
    """
    __tracebackhide__ = True
    return _held(compare(actual, expected, Criteria(equal=True), name=name, axes=axes))


def _held(comparison: Comparison) -> Comparison:
    __tracebackhide__ = True
    if not comparison.passed:
        raise ComparisonFailure(comparison)
    return comparison
