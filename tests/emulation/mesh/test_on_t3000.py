"""Values and collectives on the 2x4 mesh of a T3000: the tests of the `cases_` files, in one process of that system."""

from __future__ import annotations

from pathlib import Path

from .conftest import Run

FOLDER = Path(__file__).parent


def test_values_and_collectives(run_pytest: Run) -> None:
    cases = sorted(FOLDER.glob("cases_*.py"))
    result = run_pytest("--tt-system=t3000", "--tt-numerics=exact", *cases)  # what is exchanged, not how it rounds
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(cases) == 8
