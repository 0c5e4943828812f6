"""These tables hold operations to what they mean, within a rounding or two: in exact arithmetic, whatever the run's."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _exact(exact_arithmetic: None) -> None:
    """For every test here."""
