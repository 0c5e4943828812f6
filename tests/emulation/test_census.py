"""Where every operation's values come from, as `ttbringup doctor --ops` and docs/operations.md say it."""

from __future__ import annotations

from pathlib import Path

import pytest
import ttnn

from pytest_ttbringup.cli import main
from pytest_ttbringup.emulation import census

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_the_page_of_operations_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--ops", "--format=md"]) == 0
    assert capsys.readouterr().out == OPERATIONS.read_text(), (
        "write it again: ttbringup doctor --ops --format=md > docs/operations.md"
    )


def test_every_operation_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    entries = census.census()
    assert sum(census.counts(entries).values()) == len(entries) == len(list(ttnn.decorators.REGISTERED_OPERATIONS))
    kinds = {entry.name: entry.kind for entry in entries}
    assert kinds["ttnn.from_torch"] == census.TRANSFER
    assert kinds["ttnn.linear"] == census.OWN
    assert kinds["ttnn.relu"] == census.GOLDEN
    assert kinds["ttnn.as_tensor"] == census.COMPOSITE
    assert kinds["ttnn.generic_op"] == census.CONTROL_PLANE
    assert main(["doctor", "--ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(entries) + len(census.KINDS)
    assert any(line.split() == ["ttnn.linear", "own", "semantics"] for line in lines)
