"""The bring-up board: where each model stands, and the command that takes it one rung up."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from pytest_ttbringup.reporting.figures import aligned, duration, pcc_figure
from pytest_ttbringup.reporting.standing import Result, Row, Rung
from pytest_ttbringup.stages import STAGES, Stage


def board_lines(rows: Sequence[Row], width: int) -> list[str]:
    """The board as plain lines no wider than the terminal if they can be.

    One line per model with a column per stage; where that is too wide, first without saying where the worst PCC was,
    then one line per stage.
    """
    stages = [rung.stage for rung in rows[0].rungs.values()]
    lines: list[str] = []
    for brief in (False, True):
        lines = _wide(rows, stages, brief=brief)
        if max(map(len, lines)) <= width:
            return lines
    return _long(rows)


def skip_lines(rows: Sequence[Row]) -> list[str]:
    """Why tests of a rung were skipped, each reason once: a rung that a mesh or model can't climb says so."""
    lines = [
        f"{rung.stage.name}, skipped: {reason}"
        for row in rows
        for rung in row.rungs.values()
        for reason in rung.reasons()
    ]
    return list(dict.fromkeys(lines))


def next_line(
    rows: Sequence[Row],
    *,
    arguments: Sequence[str],
    model_arguments: Mapping[str, str],
    beside: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """What to run next.

    The first red rung; else the lowest above the highest climbed, else the lowest, that is not climbed: a rung is when
    all its tests ran and passed. When all on the board are, the next stage of the ladder that was not collected.

    Args:
        rows: the board.
        arguments: options of this run to repeat.
        model_arguments: for each model on the board the option that chooses it; none for pytest's default.
        beside: stages that have tests but were not collected, each with the arguments that collect it.
    """
    for row in rows:
        for rung in row.rungs.values():
            if failures := rung.failures():
                return _command([*arguments, "-k", failures[0].test], model_arguments.get(row.model))
    for row in rows:
        if waiting := _next_rung(row):
            why = f" ({', '.join(waiting.left_out())})" if waiting.results else ""
            command = _command([*arguments, "-k", waiting.stage.select], model_arguments.get(row.model))
            return f"{command}    # {waiting.stage.name}{why}"
    return _beyond(rows[0], beside or {}, model_arguments)


def _next_rung(row: Row) -> Rung | None:
    reached = max((number for number, rung in row.rungs.items() if rung.climbed()), default=-1)
    waiting = [rung for rung in row.rungs.values() if not rung.climbed()]
    above = [rung for rung in waiting if rung.stage.number > reached]
    return next(iter(above or waiting), None)


def _beyond(row: Row, beside: Mapping[int, Sequence[str]], model_arguments: Mapping[str, str]) -> str:
    """What follows when every rung on the board is climbed."""
    green = "next: every rung here is green"
    reached = max(row.rungs)
    missing = [stage for stage in STAGES if stage.number not in row.rungs]
    ahead = [stage for stage in missing if stage.number > reached]
    for stage in [*ahead, *missing]:
        if stage.number in beside:
            command = _command([*beside[stage.number], "-k", stage.select], model_arguments.get(row.model))
            return f"{command}    # {stage.name}"
    return f"{green}; stage {ahead[0].number}, {ahead[0].name}, has no tests here" if ahead else green


def _command(arguments: Sequence[str], model_argument: str | None) -> str:
    return "next: " + shlex.join(["pytest", *arguments, *filter(None, [model_argument])])


def _wide(rows: Sequence[Row], stages: Sequence[Stage], *, brief: bool) -> list[str]:
    header = ["model", "target", *(stage.heading for stage in stages), "time"]
    body = [
        [
            row.model or "-",
            row.target,
            *(cell(rung, brief=brief) for rung in row.rungs.values()),
            duration(row.seconds),
        ]
        for row in rows
    ]
    return aligned([header, *body])


def _long(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines.append(f"{row.model or 'tests'} on {row.target}, {duration(row.seconds)}")
        table = [
            ["", rung.stage.name, duration(rung.seconds) if rung.results else "", cell(rung)]
            for rung in row.rungs.values()
        ]
        lines += aligned(table)
    return lines


def cell(rung: Rung, *, brief: bool = False) -> str:
    """A rung in a few words: `-` (not run), `skip`, `xfail`, `ok 0.99991 (mlp first)`, `ok 98.4/100 KL 0.006`, `FAIL
    decode_mlp 0.982`.

    `brief` leaves out where the worst PCC was, and the KL divergence. A rung of which only some tests ran says how
    many, as in `ok 3/42`, and one with skipped tests counts them, as in `ok 0.99991 (4 skipped)`.
    """
    outcome = rung.outcome()
    if outcome == "not run":
        return "-"
    if outcome in ("skipped", "xfailed"):
        return outcome.removesuffix("ped").removesuffix("ed")
    if failures := rung.failures():
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        name = failures[0].test if brief else failures[0].label
        return " ".join(filter(None, ["FAIL", name, _pcc(failures[0].pcc)])) + more
    words, remarks = ["ok"], [it for it in rung.left_out() if not it.endswith("not run")]
    if rung.planned > len(rung.results):
        words.append(f"{len(rung.results)}/{rung.planned}")
    if tokens := rung.worst_tokens():
        words.append("/".join(f"{math.floor(share * 1000) / 10:g}" for share in tokens))
        if (kl := rung.worst_kl()) is not None and not brief:
            words.append(f"KL {kl:.3f}")
    elif worst := rung.worst():
        words.append(_pcc(worst.pcc))
        where = _where(worst, rung)
        if where and not brief:
            remarks.insert(0, where)
    return " ".join([*words, f"({', '.join(remarks)})"] if remarks else words)


def _where(worst: Result, rung: Rung) -> str:
    if len({result.test for result in rung.results}) == 1:
        return worst.case
    return f"{worst.test.removeprefix('decode_').removeprefix('prefill_')} {worst.case}".rstrip()


def _pcc(pcc: float | None) -> str:
    if pcc is None:
        return ""
    if not math.isfinite(pcc):
        return "undefined"
    return pcc_figure(pcc)
