"""Which choices a sweep calls worth their cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.sweep.pareto import Point, dominators

# Few different values, so that ties and equal points are common.
POINTS = st.lists(st.none() | st.builds(Point, st.integers(0, 5).map(float), st.integers(1, 6).map(float)), max_size=9)


@given(POINTS)
def test_the_front_dominates_all_that_is_not_on_it(points: list[Point | None]) -> None:
    better = dominators(points)
    assert len(better) == len(points)
    front = [number for number, point in enumerate(points) if point is not None and better[number] is None]
    assert bool(front) == any(point is not None for point in points)
    for point, number in zip(points, better, strict=True):
        if number is None:
            assert point is None or not any(it.dominates(point) for it in points if it is not None)
        else:
            best = points[number]
            assert number in front
            assert best is not None
            assert point is not None
            assert best.loss <= point.loss
            assert best.speed >= point.speed
            assert best != point


@given(POINTS.filter(bool), st.randoms())
def test_the_front_does_not_depend_on_the_order(points: list[Point | None], random: object) -> None:
    def front(given: list[Point | None]) -> set[Point]:
        return {it for it, number in zip(given, dominators(given), strict=True) if it is not None and number is None}

    shuffled = [*points]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert front(shuffled) == front(points)


def test_equals_do_not_dominate_each_other() -> None:
    same = Point(0.1, 10.0)
    assert dominators([same, same, Point(0.1, 9.0), Point(0.2, 10.0), None]) == [None, None, 0, 0, None]
