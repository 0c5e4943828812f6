"""What the models wrote, below the board: the end of a bring-up is text that a person reads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from pytest_ttbringup.reporting.records import EVIDENCE, records

_SHOWN = 3


def text_lines(reports: Iterable[Any], width: int) -> list[str]:
    """The first texts of each model and target: prompt, what TT-NN wrote, and the reference's text where it differs.

    A test that passes though a check of it failed is a negative control, and its text not the model's.

    Args:
        reports: pytest's reports of all phases.
        width: columns of the terminal.
    """
    lines: list[str] = []
    for report in reports:
        if getattr(report, "when", None) != "call":
            continue
        evidence = records(report.user_properties, *EVIDENCE)
        if report.outcome == "passed" and not all(record.get("passed", True) for record in evidence):
            continue
        texts = list(records(report.user_properties, "text"))
        stage = next(records(report.user_properties, "stage"), None)
        if texts and stage is not None:
            lines.append(f"text of {stage['model']} ({stage['target']})")
        for text in texts[:_SHOWN]:
            ours, theirs = (str(text[side]).strip() or "(nothing)" for side in ("text", "reference"))
            lines += _wrapped(f"> {text['prompt']}", width, "  ")
            lines += _wrapped(ours, width, "    ")
            lines += _wrapped(f"reference: {theirs}", width, "    ") if theirs != ours else ["    (as the reference)"]
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, max(width - 1, 40), initial_indent=indent, subsequent_indent=indent)
