"""What a device measured, as TT-Metal's profiler writes it, beside the bound.

The file is `ops_perf_results_*.csv` of `python -m tracy`, as `tt-perf-report` reads it: a row for each operation, with
(among a hundred) the columns OP CODE, OP TYPE, DEVICE ID and DEVICE KERNEL DURATION [ns]. Rows whose OP TYPE is
`signpost` are marks that a program set; as `tt-perf-report` does, only what is behind the last of them counts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.bound import Bound, OperationBound
from pytest_ttbringup.planning.roofline.operations import kind_of

CODE, TYPE, DEVICE, DURATION = "OP CODE", "OP TYPE", "DEVICE ID", "DEVICE KERNEL DURATION [ns]"
REQUIRED = (CODE, TYPE, DEVICE, DURATION)
ON_DEVICE, SIGNPOST = "tt_dnn_device", "signpost"

LONGEST_ALIGNED = 4
"""A profile of at most so many times the recorded operations is aligned with them where it differs."""


class Profiled(NamedTuple):
    """An operation that a device ran: its name, seconds in its kernels, and its line in the file."""

    kind: str
    seconds: float
    line: int


class Measured(NamedTuple):
    """A recorded operation, and what the device took for it."""

    bound: OperationBound
    seconds: float

    @property
    def below(self) -> bool:
        """Whether the device was faster than the bound allows, so that one of the two is wrong."""
        return self.seconds < self.bound.seconds


class Comparison(NamedTuple):
    """A bound beside a profile.

    Attributes:
        matched: operations that are in both, in order.
        missing: recorded ones that the profile has not.
        further: profiled ones between the matched that were not recorded.
    """

    matched: tuple[Measured, ...]
    missing: tuple[OperationBound, ...]
    further: tuple[Profiled, ...]


def read_profile(path: Path) -> list[Profiled]:
    """The operations of one device (the first that is named), in order.

    Raises:
        BringupError: the file can't be read, or is none of the profiler's; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(_rows(path, csv.reader(file, strict=True)))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise BringupError(f"--profile={path} can't be read: {reason}.") from error
    marks = [at for at, (_, row) in enumerate(rows) if row[TYPE] == SIGNPOST]
    rows = [it for it in rows[marks[-1] + 1 if marks else 0 :] if it[1][TYPE] == ON_DEVICE]
    if not rows:
        behind = "behind its last signpost " if marks else ""
        raise BringupError(f"--profile={path}: {behind}no row has the {TYPE} {ON_DEVICE}: nothing was measured.")
    first = rows[0][1][DEVICE]
    return [
        Profiled(kind_of(row[CODE]), _seconds(path, line, row[DURATION]), line)
        for line, row in rows
        if row[DEVICE] == first
    ]


def compare(bound: Bound, profile: Sequence[Profiled]) -> Comparison:
    """Match profiled operations to recorded ones by name, in order.

    Where the profile holds the recorded names one after another, as a step of the same program does, the last such
    stretch counts. Else the two are aligned.

    Raises:
        BringupError: they have too little in common.
    """
    recorded = [it.operation.kind for it in bound.operations]
    profiled = [it.kind for it in profile]
    for start in range(len(profiled) - len(recorded), -1, -1):
        if profiled[start : start + len(recorded)] == recorded:
            return Comparison(
                tuple(Measured(bound.operations[at], profile[start + at].seconds) for at in range(len(recorded))),
                (),
                (),
            )
    if len(profiled) > LONGEST_ALIGNED * len(recorded):
        raise BringupError(
            f"--profile: its {len(profiled)} operations hold no step that issues the {len(recorded)} recorded ones in "
            "their order. Profile the same model, users and precision, and set a signpost before the step."
        )
    matched: list[Measured] = []
    blocks = SequenceMatcher(None, recorded, profiled, autojunk=False).get_matching_blocks()
    ours, theirs = set(range(len(recorded))), set(range(len(profiled)))
    for block in blocks:
        for at in range(block.size):
            matched.append(Measured(bound.operations[block.a + at], profile[block.b + at].seconds))
            ours.discard(block.a + at)
            theirs.discard(block.b + at)
    if not matched:
        raise BringupError("--profile: none of its operations has the name of a recorded one.")
    return Comparison(
        tuple(matched), tuple(bound.operations[at] for at in sorted(ours)), tuple(profile[at] for at in sorted(theirs))
    )


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines and their cells by column.

    Raises:
        BringupError: there is no header, or a line is not like it.
    """
    try:
        header = next(reader, [])
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise BringupError(
                f"--profile={path}, line 1: no column {', '.join(map(repr, missing))}, so it is none of TT-Metal's "
                "ops_perf_results_*.csv. `python -m tracy` writes them."
            )
        for line, cells in enumerate(reader, start=2):
            if cells:
                if len(cells) > len(header) or len(cells) <= header.index(TYPE):
                    raise BringupError(
                        f"--profile={path}, line {line}: {len(cells)} cells, and the header has {len(header)}."
                    )
                yield line, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))
    except csv.Error as error:
        raise BringupError(f"--profile={path}: {error}; it is no CSV file.") from error


def _seconds(path: Path, line: int, stated: str) -> float:
    try:
        nanoseconds = float(stated)
    except ValueError:
        nanoseconds = -1.0
    if not 0 < nanoseconds < float("inf"):
        raise BringupError(f"--profile={path}, line {line}: {DURATION} is {stated!r}; it must be a number above 0.")
    return nanoseconds / 1e9
