"""How figures read in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pcc_figure(value: float) -> str:
    """A PCC with five digits, never rounded up to or above a threshold it misses."""
    return f"{math.floor(value * 1e5) / 1e5:.5f}"


def percent(share: float) -> str:
    """A share as tables show it, never rounded up to a floor it misses."""
    return f"{math.floor(share * 1000) / 10:.1f} %"


def duration(seconds: float) -> str:
    """Whole seconds, from a minute on with minutes."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def aligned(table: Sequence[Sequence[str]], *, figures: bool = False) -> list[str]:
    """Rows of as many cells as lines, each column as wide as its widest cell, two spaces apart.

    With `figures` all columns but the first are set to the right.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = ["<"] + [">" if figures else "<"] * (len(widths) - 1)
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in table
    ]


def piped(table: Sequence[Sequence[str]], *, figures: bool = False) -> list[str]:
    """The same as a table in Markdown, its first row the headings."""
    first, *others = table
    rule = f"|---|{('---:|' if figures else '---|') * (len(first) - 1)}"
    lines = [f"| {' | '.join(row)} |" for row in (first, *others)]
    return [lines[0], rule, *lines[1:]]
