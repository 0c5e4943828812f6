"""Which choices are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """What a choice loses (less is better) and how fast it is (more is better)."""

    loss: float
    speed: float

    def dominates(self, other: Point) -> bool:
        """Whether this is as good as the other in both respects, and better in one."""
        return self.loss <= other.loss and self.speed >= other.speed and self != other


def dominators(points: Sequence[Point | None]) -> list[int | None]:
    """For each point the first one on the Pareto front that dominates it; None for those on the front.

    A None among the points was not measured: it neither dominates nor is dominated.
    """
    front = [
        number
        for number, point in enumerate(points)
        if point is not None and not any(it.dominates(point) for it in points if it is not None)
    ]
    return [
        None
        if point is None
        else next((it for it in front if (best := points[it]) is not None and best.dominates(point)), None)
        for point in points
    ]
