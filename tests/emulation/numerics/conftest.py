"""Computing with one of the device's arithmetics for the length of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_ttbringup.emulation import arithmetic
from pytest_ttbringup.options import settings_of

Compute = Callable[[str], None]


@pytest.fixture
def compute(pytestconfig: pytest.Config) -> Iterator[Compute]:
    """Call it with `exact`, `device` or `bitexact`."""
    cache = settings_of(pytestconfig).cache_dir
    before = arithmetic.arithmetic()
    yield lambda name: arithmetic.choose(name, cache)
    arithmetic.restore(before)


@pytest.fixture
def _compiled(compute: Compute) -> None:
    """Keep compiled loops in the cache of this run."""
    compute("bitexact")
