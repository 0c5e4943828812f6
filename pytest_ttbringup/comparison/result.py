"""What a comparison must meet, and what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_ttbringup.comparison.formats import Tolerance, check_format, default_tolerance
from pytest_ttbringup.errors import BringupError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_ttbringup.comparison.metrics import Errors


@dataclass(frozen=True)
class Criteria:
    """What a comparison must meet; None leaves a check out.

    within_default_tolerance: check the formats' tolerance when neither rtol nor atol is given.
    max_scale_error, max_offset_error: of the fit actual = scale * expected + offset, which PCC can not see: the most
    that |scale - 1|, and |offset| in units of the root mean square of expected, may be.
    equal: ask for equal values and leave out all other checks of values.
    output_dtype: the output's number format where the tensor itself does not tell it.

    Raises BringupError for a value that is not allowed.
    """

    pcc_threshold: float | None = None
    rtol: float | None = None
    atol: float | None = None
    within_default_tolerance: bool = False
    max_scale_error: float | None = None
    max_offset_error: float | None = None
    max_ulp: float | None = None
    ulp_dtype: str = "bfloat16"
    equal: bool = False
    output_dtype: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        threshold = self.pcc_threshold
        if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
            raise BringupError(
                f"A PCC threshold must be a number from 0 to 1; got {threshold!r}. 0.999 suits a module."
            )
        for name in ("rtol", "atol", "max_scale_error", "max_offset_error", "max_ulp"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value < math.inf):
                raise BringupError(f"{name} must be a number, 0 or greater; got {value!r}.")
        check_format(self.ulp_dtype)
        if self.output_dtype is not None:
            check_format(self.output_dtype)

    def tolerance(self, dtypes: Iterable[str], expected_rms: float) -> Tolerance:
        """Return the tolerance asked for (rtol or atol alone: the other is 0), else that of the coarser format."""
        if self.rtol is None and self.atol is None:
            return default_tolerance(dtypes, expected_rms)
        return Tolerance(self.rtol or 0.0, self.atol or 0.0)

    @property
    def checks_tolerance(self) -> bool:
        """Whether every element must lie within the tolerance."""
        return self.within_default_tolerance or self.rtol is not None or self.atol is not None


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    reason: the first check that failed, "" if none: "structure", "shape", "dtype", "empty", "nonfinite", "constant",
    "pcc", "scale", "offset", "tolerance", "ulp" or "unequal".
    pcc, scale, offset: nan where undefined. offset_error: |offset| in units of the root mean square of the reference.
    errors, tolerance: None unless both tensors are finite and of one shape.
    where: the place of the difference in a few words. hint: the pattern recognised, as a sentence.
    details: the lines that follow the headline of message(). parts: the comparisons of the members of a tuple, list or
    dict; the other fields are then those of the first member that failed, or of the one with the least PCC.
    """

    name: str
    reason: str
    headline: str
    shape: tuple[int, ...] = ()
    expected_shape: tuple[int, ...] = ()
    dtype: str = ""
    expected_dtype: str = ""
    pcc: float = math.nan
    pcc_threshold: float | None = None
    scale: float = math.nan
    offset: float = math.nan
    offset_error: float = math.nan
    errors: Errors | None = None
    tolerance: Tolerance | None = None
    ulp: float | None = None
    where: str = ""
    hint: str = ""
    details: tuple[str, ...] = ()
    parts: tuple[Comparison, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check was met."""
        return not self.reason

    def message(self) -> str:
        """Return the text for users: one line with the first finding, then where and why, indented."""
        if not self.parts:
            return "\n".join([self.headline, *(f"  {line}" for line in self.details)])
        told = [part for part in self.parts if part.passed == self.passed]
        count = f"{len(told)} of {len(self.parts)} outputs {'agree' if self.passed else 'differ'}"
        return "\n".join([f"{count}; first: {told[0].message()}", *(part.message() for part in told[1:])])

    def record(self) -> dict[str, Any]:
        """Return the figures as plain types, for record_property; None stands for a figure that is undefined."""
        found, allowed = self.errors, self.tolerance
        result = {
            "kind": "comparison",
            "name": self.name,
            "passed": self.passed,
            "reason": self.reason,
            "pcc": finite_or_none(self.pcc),
            "threshold": self.pcc_threshold,
            "scale": finite_or_none(self.scale),
            "offset": finite_or_none(self.offset),
            "offset_error": finite_or_none(self.offset_error),
            "relative_l2": finite_or_none(found.relative_l2) if found else None,
            "max_abs": finite_or_none(found.max_abs) if found else None,
            "max_rel": finite_or_none(found.max_rel) if found else None,
            "beyond_tolerance": found.beyond if found else None,
            "rtol": allowed.rtol if allowed else None,
            "atol": allowed.atol if allowed else None,
            "ulp": self.ulp,
            "elements": math.prod(self.shape),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "reference_dtype": self.expected_dtype,
            "where": self.where,
            "hint": self.hint,
        }
        if self.parts:
            result["parts"] = [part.record() for part in self.parts]
        return result


def finite_or_none(value: float) -> float | None:
    """Return the value, or None in place of nan and inf, which JSON has no words for."""
    return value if math.isfinite(value) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
