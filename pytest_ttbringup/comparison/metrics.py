"""How far one tensor is from another. All sums are float64, taken block by block: no full-size copy is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pytest_ttbringup.comparison.operands import Float64, Operand, block_buffer, block_indices, operand_pair


@dataclass(frozen=True)
class Moments:
    """Means and centred sums of products of two tensors; everything that PCC, scale and offset need."""

    elements: int
    mean_actual: float
    mean_expected: float
    actual_squares: float
    expected_squares: float
    products: float

    @property
    def finite(self) -> bool:
        """Whether both tensors are free of NaN and inf (and their squares within float64's range)."""
        return math.isfinite(self.actual_squares) and math.isfinite(self.expected_squares)

    @property
    def pcc(self) -> float:
        """Pearson correlation coefficient, in [-1, 1]; nan if a tensor is constant or empty or holds NaN or inf."""
        if not (self.actual_squares > 0 and self.expected_squares > 0):
            return math.nan
        # This form is symmetric, gives exactly 1 for equal tensors, and does not overflow where the sums did not.
        squared = (self.products / self.actual_squares) * (self.products / self.expected_squares)
        return math.copysign(min(1.0, math.sqrt(squared)), self.products) if math.isfinite(squared) else math.nan

    @property
    def scale(self) -> float:
        """Slope of the least-squares fit actual = scale * expected + offset."""
        return self.products / self.expected_squares if self.expected_squares > 0 else math.nan

    @property
    def offset(self) -> float:
        """Intercept of the least-squares fit actual = scale * expected + offset."""
        return self.mean_actual - self.scale * self.mean_expected

    @property
    def offset_error(self) -> float:
        """|offset| in units of the root mean square of the expected values; nan if they are all zeros."""
        return abs(self.offset) / self.expected_rms if self.expected_rms > 0 else math.nan

    @property
    def expected_rms(self) -> float:
        """Root mean square of the expected values."""
        return math.sqrt(self.expected_squares / self.elements + self.mean_expected**2) if self.elements else math.nan


@dataclass(frozen=True)
class Errors:
    """Element by element differences of two finite tensors.

    max_abs: greatest |actual - expected|; max_abs_at: its flat index in C order.
    max_rel: greatest |actual - expected| / |expected| over the elements with expected != 0.
    relative_l2: ||actual - expected|| / ||expected|| (inf when only expected is all zeros).
    beyond: number of elements with |actual - expected| > atol + rtol * |expected|; furthest_at: the flat index of the
    element with the greatest |actual - expected| - atol - rtol * |expected|.
    """

    elements: int
    max_abs: float
    max_abs_at: int
    max_rel: float
    relative_l2: float
    beyond: int
    furthest_at: int

    @property
    def share_beyond(self) -> float:
        """Share of the elements outside the tolerance, 0 to 1."""
        return self.beyond / self.elements if self.elements else 0.0


def pcc(actual: object, expected: object) -> float:
    """Return the Pearson correlation coefficient of two tensors of one shape, over all elements, in float64.

    actual, expected: torch tensors, NumPy arrays or TT-NN tensors of any shape and real dtype.

    Returns nan when it is undefined: a constant or empty tensor, NaN or inf anywhere, or float64 values whose squares
    leave float64's range. PCC ignores scale and offset: see scale_and_offset. Raises BringupError if the shapes differ.
    """
    return moments(*operand_pair(actual, expected)).pcc


def scale_and_offset(actual: object, expected: object) -> tuple[float, float]:
    """Return the least-squares fit actual = scale * expected + offset; nan where undefined.

    Raises BringupError if the shapes differ.
    """
    result = moments(*operand_pair(actual, expected))
    return result.scale, result.offset


def errors(actual: object, expected: object, *, rtol: float = 0.0, atol: float = 0.0) -> Errors:
    """Return greatest absolute and relative error, relative L2, and the elements outside atol + rtol * |expected|.

    Both tensors must be finite. Raises BringupError if the shapes differ.
    """
    return element_errors(*operand_pair(actual, expected), rtol, atol)


def moments(actual: Operand, expected: Operand) -> Moments:
    """Return means and centred sums after one pass over the data.

    Every value is shifted by a pivot, the mean of its tensor's first block, before it is squared. By Jensen's
    inequality the mean lies within sqrt(variance * elements / block) of the pivot, so the final subtraction of
    elements * (mean - pivot)^2 loses at most log2(1 + elements / block) bits, whatever the tensor's offset. A constant
    tensor gives exactly 0.
    """
    size = actual.size
    if size == 0:
        return Moments(0, math.nan, math.nan, 0.0, 0.0, 0.0)
    totals = np.zeros(5)
    x_buffer, y_buffer = block_buffer(actual.shape), block_buffer(actual.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        x_pivot, y_pivot = _pivot(actual, x_buffer), _pivot(expected, y_buffer)
        for index in block_indices(actual.shape):
            x, y = actual.read(index, x_buffer), expected.read(index, y_buffer)
            x -= x_pivot
            y -= y_pivot
            totals += (x.sum(), y.sum(), x @ x, y @ y, x @ y)
        x_sum, y_sum, xx, yy, xy = totals.tolist()
        return Moments(
            size,
            x_pivot + x_sum / size,
            y_pivot + y_sum / size,
            xx - x_sum * x_sum / size,
            yy - y_sum * y_sum / size,
            xy - x_sum * y_sum / size,
        )


def element_errors(actual: Operand, expected: Operand, rtol: float, atol: float) -> Errors:
    """Do what errors() does for two operands of one shape with finite values."""
    squares = reference_squares = max_abs = max_rel = 0.0
    max_abs_at = beyond = furthest_at = done = 0
    furthest = -math.inf
    x_buffer, y_buffer, ratio_buffer = (block_buffer(actual.shape) for _ in range(3))
    for index in block_indices(actual.shape) if actual.size else ():
        difference, allowed = actual.read(index, x_buffer), expected.read(index, y_buffer)
        difference -= allowed
        np.abs(difference, out=difference)
        np.abs(allowed, out=allowed)
        squares += float(difference @ difference)
        reference_squares += float(allowed @ allowed)
        greatest = int(difference.argmax())
        if difference[greatest] > max_abs:
            max_abs, max_abs_at = float(difference[greatest]), done + greatest
        ratio = ratio_buffer[: difference.size]
        ratio.fill(0.0)
        with np.errstate(over="ignore"):
            np.divide(difference, allowed, out=ratio, where=allowed > 0)
        max_rel = max(max_rel, float(ratio.max()))
        allowed *= rtol
        allowed += atol
        difference -= allowed
        beyond += int(np.count_nonzero(difference > 0))
        excess = int(difference.argmax())
        if difference[excess] > furthest:
            furthest, furthest_at = float(difference[excess]), done + excess
        done += difference.size
    relative_l2 = math.sqrt(squares / reference_squares) if reference_squares > 0 else math.inf if squares else 0.0
    return Errors(actual.size, max_abs, max_abs_at, max_rel, relative_l2, beyond, furthest_at)


def _pivot(operand: Operand, buffer: Float64) -> float:
    block = operand.read(next(block_indices(operand.shape)), buffer)
    # Relative to the first value, so that a constant block gives its constant exactly.
    first = float(block[0])
    block -= first
    return first + float(block.mean())
