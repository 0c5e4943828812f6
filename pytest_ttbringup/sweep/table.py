"""A sweep as rows: for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pytest_ttbringup.reporting.figures import aligned, pcc_figure, percent, piped
from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.sweep.pareto import Point, dominators
from pytest_ttbringup.sweep.speed import Speed

COLUMNS = ("choice", "PCC", "top-1", "top-5", "KL", "MB/step", "tokens/s/user", "tests", "Pareto")


@dataclass(frozen=True)
class Row:
    """A choice: what the ladder measured, how fast it is at best, and a choice on the front that is better, if any."""

    measured: Measurement
    speed: Speed
    better: str | None

    @property
    def point(self) -> Point | None:
        """Where it is on the plot; None if teacher forcing or the speed is missing."""
        return _point(self.measured, self.speed)

    @property
    def problems(self) -> tuple[str, ...]:
        """Which tests are red and why, and why there is no speed."""
        return (*self.measured.failures, *filter(None, [self.speed.problem]))

    @property
    def verdict(self) -> str:
        """`front`, `worse than NAME`, or `not measured`."""
        if self.point is None:
            return "not measured"
        return f"worse than {self.better}" if self.better else "front"


def rows_of(measured: Sequence[Measurement], speeds: Sequence[Speed]) -> list[Row]:
    """Every choice, in the order given."""
    found = list(zip(measured, speeds, strict=True))
    better = dominators([_point(*it) for it in found])
    names = [None if number is None else measured[number].name for number in better]
    return [Row(*it, name) for it, name in zip(found, names, strict=True)]


def as_text(rows: Sequence[Row]) -> str:
    """The choices, the modules' PCC in each, why tests are red, and the fastest choice without any."""
    parts = [aligned([COLUMNS, *(_cells(row) for row in rows)]), aligned(_modules(rows)), _red(rows), [advice(rows)]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def as_markdown(rows: Sequence[Row]) -> str:
    """The same as Markdown."""
    tables = [it for it in ([COLUMNS, *(_cells(row) for row in rows)], _modules(rows)) if it]
    red = [f"- {line.strip()}" for line in _red(rows)[1:]]
    parts = [*(piped(it) for it in tables), red, [advice(rows)]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def advice(rows: Sequence[Row]) -> str:
    """The fastest choice that is nowhere red."""
    green = [(row.point.speed, row.measured.name) for row in rows if row.point and not row.problems]
    if not green:
        return "no choice is green on every test"
    speed, name = max(green)
    return f"fastest with every test green: {name}, at most {rounded(speed)} tokens/s/user"


def _modules(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The least PCC of each module in each choice; empty if none was measured."""
    tests = list(dict.fromkeys(test for row in rows for test in row.measured.modules))
    if not tests:
        return []
    heading = ("least PCC", *(test.removeprefix("decode_") for test in tests))
    return [heading, *((row.measured.name, *(_pcc(row.measured.modules.get(it)) for it in tests)) for row in rows)]


def _red(rows: Sequence[Row]) -> list[str]:
    lines = [f"  {row.measured.name}: {reason}" for row in rows for reason in row.problems]
    return ["red:", *lines] if lines else []


def _pcc(value: float | None) -> str:
    return "-" if value is None else pcc_figure(value)


def rounded(value: float) -> str:
    """A figure as tables show it: whole from 100 on, else of three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each choice, figures as they are."""
    out = io.StringIO()
    records = [_record(row) | {"problems": "; ".join(row.problems)} for row in rows]
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def as_json(rows: Sequence[Row], about: dict[str, object]) -> str:
    """All figures, and what they hold for."""
    return json.dumps({**about, "choices": [_record(row) for row in rows]}, indent=2, allow_nan=False) + "\n"


def _record(row: Row) -> dict[str, object]:
    figures = asdict(row.measured)
    del figures["failures"]
    speed = {"bound_seconds_per_step": row.speed.seconds, "megabytes_per_step": row.speed.megabytes}
    return {**figures, **speed, "pareto": row.verdict, "problems": list(row.problems)}


def _cells(row: Row) -> tuple[str, ...]:
    it = row.measured
    shares = ("-" if share is None else percent(share) for share in (it.top1, it.top5))
    return (
        it.name,
        _pcc(min(it.modules.values(), default=None)),
        *shares,
        "-" if it.kl is None else f"{it.kl:.4f}",
        "-" if row.speed.megabytes is None else rounded(row.speed.megabytes),
        "-" if not row.speed.seconds else rounded(1 / row.speed.seconds),
        (f"{it.red} red of {it.tests}" if it.failures else f"green, {it.tests}") if it.tests else "stopped",
        row.verdict,
    )


def _point(measured: Measurement, speed: Speed) -> Point | None:
    return None if measured.kl is None or not speed.seconds else Point(measured.kl, 1 / speed.seconds)
