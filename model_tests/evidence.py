"""What a rung that a negative control runs has compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ttbringup.reporting.records import EVIDENCE, records


def compared_by(request: pytest.FixtureRequest, rung: Callable[[], None]) -> set[str]:
    """Run a rung within a test; the names of what it compared."""
    before = len(request.node.user_properties)
    rung()
    return {record["name"] for record in records(request.node.user_properties[before:], *EVIDENCE)}
