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


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells as lines, each column as wide as its widest cell, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
