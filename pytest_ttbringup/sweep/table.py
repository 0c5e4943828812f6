"""A sweep as rows: for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.sweep.pareto import Point, dominators

COLUMNS = ("choice", "modules' PCC", "top-1", "top-5", "KL", "MB/step", "tokens/s/user", "rungs", "Pareto")
USERS = 32
"""That a decode step serves."""


@dataclass(frozen=True)
class Row:
    """A choice, what it can be at most, and whether another is better.

    Attributes:
        measured: on the ladder.
        seconds: the least of a decode step; None if not known.
        megabytes: 10**6 bytes that a step reads of a chip; None if not known.
        better: the choice on the Pareto front that is better, None if there is none.
    """

    measured: Measurement
    seconds: float | None
    megabytes: float | None
    better: str | None

    @property
    def point(self) -> Point | None:
        """Where it is on the plot; None if teacher forcing or the speed is missing."""
        return _point(self.measured, self.seconds)

    @property
    def verdict(self) -> str:
        """`front`, `worse than NAME`, or `not measured`."""
        if self.point is None:
            return "not measured"
        return f"worse than {self.better}" if self.better else "front"


def rows_of(measured: Sequence[Measurement], seconds: Sequence[float | None], context: int) -> list[Row]:
    """Every choice, in the order given."""
    points = [_point(it, time) for it, time in zip(measured, seconds, strict=True)]
    better = [None if number is None else measured[number].name for number in dominators(points)]
    return [
        Row(it, time, _megabytes(it, context), name) for it, time, name in zip(measured, seconds, better, strict=True)
    ]


def as_text(rows: Sequence[Row]) -> str:
    """A table, and a line for every red test."""
    table = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    red = [f"{row.measured.name}: {reason}" for row in rows for reason in row.measured.failures]
    return "\n".join([*lines, *(["", "red:", *(f"  {line}" for line in red)] if red else []), ""])


def as_markdown(rows: Sequence[Row]) -> str:
    """The same as Markdown."""
    table = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(row) for row in rows)]
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    red = [f"- {row.measured.name}: {reason}" for row in rows for reason in row.measured.failures]
    return "\n".join([*lines, *(["", *red] if red else []), ""])


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each choice, figures as they are."""
    out = io.StringIO()
    records = [_record(row) | {"failures": "; ".join(row.measured.failures)} for row in rows]
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def as_json(rows: Sequence[Row], about: dict[str, object]) -> str:
    """All figures, and what they hold for."""
    return json.dumps({**about, "choices": [_record(row) for row in rows]}, indent=2, allow_nan=False) + "\n"


def _record(row: Row) -> dict[str, object]:
    speed = None if row.seconds is None else 1 / row.seconds
    return {**asdict(row.measured), "bound_tokens_per_second_per_user": speed, "pareto": row.verdict}


def _cells(row: Row) -> tuple[str, ...]:
    it = row.measured
    place = f" ({it.pcc_at})" if it.pcc_at else ""
    return (
        it.name,
        "-" if it.pcc is None else f"{it.pcc:.5f}{place}",
        "-" if it.top1 is None else f"{it.top1:.1%}",
        "-" if it.top5 is None else f"{it.top5:.1%}",
        "-" if it.kl is None else f"{it.kl:.4f}",
        "-" if row.megabytes is None else f"{row.megabytes:.4g}",
        "-" if row.seconds is None else f"{1 / row.seconds:.4g}",
        f"{len(it.failures)} red of {it.tests}" if it.failures else f"green, {it.tests}",
        row.verdict,
    )


def _point(measured: Measurement, seconds: float | None) -> Point | None:
    return None if measured.kl is None or not seconds else Point(measured.kl, 1 / seconds)


def _megabytes(it: Measurement, context: int) -> float | None:
    if it.weight_bytes is None or it.cache_bytes is None:
        return None
    return (it.weight_bytes + context * it.cache_bytes) / 1e6
