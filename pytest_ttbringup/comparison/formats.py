"""Number formats of TT-NN: steps (ULP), default tolerances, and the PCC that rounding alone leaves.

bfloat8_b and bfloat4_b: 16 consecutive values of a row share one exponent; each value is a sign and an integer of 7 (or
3) bits times a step common to the 16. Rounding is to nearest, except that the integer saturates, so an error just under
one step is possible. Checked against TT-NN's own packer (ttnn 0.81.1, from_torch then to_torch).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pytest_ttbringup.comparison.operands import Float64, Operand, block_indices, operand_pair
from pytest_ttbringup.errors import BringupError

_GROUP = 16
_SMALLEST_NORMAL_EXPONENT = -126


@dataclass(frozen=True)
class Tolerance:
    """|actual - expected| <= atol + rtol * |expected|."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Format:
    """One number format.

    fraction_bits: the step (ULP) is 2^(E - fraction_bits) for an exponent E, the value's own or its group's.
    grouped: whether 16 values share the exponent of their greatest.
    relative: default relative tolerance. rounded_pcc: PCC of normally distributed values against themselves rounded.
    """

    fraction_bits: int
    grouped: bool
    relative: float
    rounded_pcc: float


# relative: float32 and bfloat16 are those of torch.testing.assert_close (1.3e-6 and 1.6e-2); that of bfloat16 is four
# times its rounding error of half a step, 4 * 2^-8, and the block formats get four half steps too: 4 * 2^-7, 4 * 2^-3.
# rounded_pcc: measured on 2^20 standard normal values with TT-NN's packer; float32 differs from 1 by 1e-15.
FORMATS = {
    "float32": Format(23, False, 1.3e-6, 1.0),
    "bfloat16": Format(7, False, 2.0**-6, 0.9999986),
    "bfloat8_b": Format(6, True, 2.0**-5, 0.999974),
    "bfloat4_b": Format(2, True, 2.0**-1, 0.99319),
}


def default_tolerance(dtypes: Iterable[str], expected_rms: float) -> Tolerance:
    """Return the tolerance of the coarsest of the given formats: rtol from FORMATS, atol = rtol * expected_rms.

    rtol: 1.3e-6 for float32 and 2^-6 for bfloat16 (both as torch.testing.assert_close), 2^-5 for bfloat8_b, 2^-1 for
    bfloat4_b (four rounding errors, as for bfloat16). atol goes with the root mean square of the reference, because the
    rounding of a sum of products, and of a block format, leaves an error in proportion to the tensor's typical value,
    not to the element's. A format outside the table (float64, integers) counts as float32.
    """
    relative = max(FORMATS.get(dtype, FORMATS["float32"]).relative for dtype in dtypes)
    return Tolerance(relative, relative * expected_rms)


def max_ulp(actual: object, expected: object, dtype: str = "bfloat16") -> float:
    """Return the greatest |actual - expected| in units in the last place (ULP) of dtype, fractions included.

    One ULP is the step of dtype at the expected value: 2^(E - 23) for float32 and 2^(E - 7) for bfloat16 with E the
    exponent of the expected value (never below -126); 2^(E - 6) for bfloat8_b and 2^(E - 2) for bfloat4_b with E the
    greatest exponent among the 16 expected values of its group (consecutive along the last axis). Values below the
    smallest normal number count as zero, as the device flushes them. A correctly rounded float32 or bfloat16 output is
    at most 0.5 away from an exact reference; neighbours in the format are 1 apart. nan if either tensor holds NaN.

    Raises BringupError for another dtype or different shapes.
    """
    return ulp_errors(*operand_pair(actual, expected), dtype)[0]


def ulp_errors(actual: Operand, expected: Operand, dtype: str) -> tuple[float, int]:
    """Return max_ulp() of two operands of one shape, and the flat index of the greatest."""
    form = check_format(dtype)
    greatest, greatest_at, done = 0.0, 0, 0
    for index in block_indices(actual.shape) if actual.size else ():
        x, y = _flushed(actual.float64(index)), _flushed(expected.float64(index))
        distance = (np.abs(x - y) / _step(y, form)).reshape(-1)
        at = int(distance.argmax())
        if not distance[at] <= greatest:
            greatest, greatest_at = float(distance[at]), done + at
        done += distance.size
    return greatest, greatest_at


def check_format(dtype: str) -> Format:
    """Return the format of that name. Raises BringupError for an unknown one."""
    if dtype not in FORMATS:
        raise BringupError(f"Unknown number format {dtype!r}. Choose one of {', '.join(FORMATS)}.")
    return FORMATS[dtype]


def sensible_threshold_note(threshold: float) -> str:
    """Say why so high a PCC threshold can not be met by rounded values, and which ones can."""
    rounding = ", ".join(f"{form.rounded_pcc} for {name}" for name, form in FORMATS.items() if form.rounded_pcc < 1)
    return (
        f"a threshold of {threshold} leaves no room for rounding, which alone gives a PCC of {rounding}; "
        "0.9999 suits one op or norm, 0.999 a module, 0.99 a whole model"
    )


def _flushed(values: Float64) -> Float64:
    values[np.abs(values) < math.ldexp(1.0, _SMALLEST_NORMAL_EXPONENT)] = 0.0
    return values


def _step(expected: Float64, form: Format) -> Float64:
    magnitude = np.atleast_1d(np.abs(expected))
    if form.grouped:
        width = magnitude.shape[-1]
        padding = [(0, 0)] * (magnitude.ndim - 1) + [(0, -width % _GROUP)]
        groups = np.pad(magnitude, padding).reshape(*magnitude.shape[:-1], -1, _GROUP)
        magnitude = np.repeat(groups.max(axis=-1), _GROUP, axis=-1)[..., :width]
    # frexp gives a fraction in [0.5, 1), so its exponent is one more than the value's.
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, _SMALLEST_NORMAL_EXPONENT)
    exponent[magnitude == 0] = _SMALLEST_NORMAL_EXPONENT
    step: Float64 = np.ldexp(1.0, exponent - form.fraction_bits).reshape(expected.shape)
    return step
