"""The bound on a decode step's speed, computed from the operations a test recorded: a line below the board."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_ttbringup.reporting.records import records


def bound_record(
    system: str, *, chips: int, users: int, position: int, operations: int, seconds: float
) -> dict[str, Any]:
    """The record of a decode step's bound.

    Args:
        system: of whose chips the peaks are.
        chips: of the mesh.
        users: that decode together.
        position: that the token of each is taken to have.
        operations: how many were recorded.
        seconds: that they take at least, one after another.
    """
    where = {"system": system, "chips": chips, "users": users, "position": position}
    return {"kind": "bound", **where, "operations": operations, "seconds": seconds}


def bound_lines(reports: Iterable[Any]) -> list[str]:
    """A line for each model whose decode step a test recorded.

    Args:
        reports: pytest's reports of all phases.
    """
    lines: dict[str, None] = {}
    for report in reports:
        if getattr(report, "when", None) != "call":
            continue
        stage = next(records(report.user_properties, "stage"), None)
        for it in records(report.user_properties, "bound"):
            model = (stage and stage["model"]) or "tests"
            where = it["system"] if it["chips"] == 1 else f"{it['chips']} chips of {it['system']}"
            lines[
                f"bound of {model} on {where}: at most {1 / it['seconds']:.1f} tokens/s/user and "
                f"{it['users'] / it['seconds']:.0f} tokens/s, {it['users']} users at position {it['position']} "
                f"(roofline of the {it['operations']} operations issued; not measured)"
            ] = None
    return list(lines)
