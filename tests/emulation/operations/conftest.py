"""These tables hold operations to what they mean, within a rounding or two: in exact arithmetic, whatever the run's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_ttbringup.emulation import arithmetic


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    before = arithmetic.arithmetic()
    arithmetic.choose("exact")
    yield
    arithmetic.restore(before)
