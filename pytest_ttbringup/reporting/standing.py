"""Where each model stands on the ladder, put together from the reports of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ttbringup.reporting.records import records
from pytest_ttbringup.stages import STAGES, Stage

Planned = Mapping[tuple[int, str], int]
"""How many tests were collected, before any deselection, for each (stage number, model)."""


@dataclass(frozen=True)
class Result:
    """One stage test and what it measured."""

    test: str
    case: str
    outcome: str
    seconds: float
    pcc: float | None
    tokens: tuple[float, float] | None
    kl: float | None = None
    reason: str = ""
    """Why it was skipped, if it was."""

    @property
    def label(self) -> str:
        """The test and its case, for instance `decode_attention first`."""
        return f"{self.test} {self.case}".rstrip()


@dataclass
class Rung:
    """All results of one stage for one model and target."""

    stage: Stage
    planned: int = 0
    results: list[Result] = field(default_factory=list)

    def outcome(self) -> str:
        """The first of `failed`, `passed`, `xfailed` and `skipped` that any test has; `not run` when none ran."""
        outcomes = {result.outcome for result in self.results}
        return next((it for it in ("failed", "passed", "xfailed", "skipped") if it in outcomes), "not run")

    def left_out(self) -> list[str]:
        """What of the rung says nothing about the model, for instance `4 skipped` and `1 of 6 not run`."""
        counts = [f"{number} {it}" for it in ("skipped", "xfailed") if (number := self._count(it))]
        missing = self.planned - len(self.results)
        return [*counts, f"{missing} of {self.planned} not run"] if missing > 0 else counts

    def reasons(self) -> list[str]:
        """Why tests were skipped, each reason once."""
        return list(dict.fromkeys(result.reason for result in self.results if result.reason))

    def climbed(self) -> bool:
        """Whether all its tests ran and passed."""
        return self.outcome() == "passed" and not self.failures() and not self.left_out()

    def _count(self, outcome: str) -> int:
        return sum(result.outcome == outcome for result in self.results)

    @property
    def seconds(self) -> float:
        """Time its tests took, set-up and teardown included, summed over workers."""
        return sum(result.seconds for result in self.results)

    def failures(self) -> list[Result]:
        """The failed results, in the order they ran."""
        return [result for result in self.results if result.outcome == "failed"]

    def worst(self) -> Result | None:
        """The result with the least PCC; None when no test measured one."""
        measured = [result for result in self.results if result.pcc is not None]
        return min(measured, key=lambda result: result.pcc or 0.0, default=None)

    def worst_tokens(self) -> tuple[float, float] | None:
        """The least top-1 and top-5 token accuracy, as shares; None when no test measured them."""
        measured = [result.tokens for result in self.results if result.tokens]
        return (min(top1 for top1, _ in measured), min(top5 for _, top5 in measured)) if measured else None

    def worst_kl(self) -> float | None:
        """The greatest KL divergence in nats; None when no test measured one."""
        return max((result.kl for result in self.results if result.kl is not None), default=None)


@dataclass
class Row:
    """One model on one target."""

    model: str
    target: str
    rungs: dict[int, Rung]

    @property
    def seconds(self) -> float:
        """Time the tests of all its rungs took."""
        return sum(rung.seconds for rung in self.rungs.values())


def standing(reports: Iterable[Any], planned: Planned) -> list[Row]:
    """One row per model and target that stage tests ran for, in the order of names.

    Args:
        reports: pytest's reports of all phases, in any order.
        planned: decides, with the results, which stages exist. Tests without a model count for every model.
    """
    by_owner: dict[tuple[str, str], list[tuple[int, Result]]] = {}
    for phases in _by_test(reports).values():
        stage = _stage_record(phases)
        if stage is not None:
            owner = (str(stage["model"]), str(stage["target"]))
            by_owner.setdefault(owner, []).append((int(stage["stage"]), _result(stage, phases)))
    numbers = {number for number, _ in planned} | {number for it in by_owner.values() for number, _ in it}
    stages = [stage for stage in STAGES if stage.number in numbers]
    owners = [owner for owner in sorted(by_owner) if owner[0]] or sorted(by_owner)
    return [_row(owner, by_owner, planned, stages) for owner in owners]


def _row(
    owner: tuple[str, str],
    by_owner: dict[tuple[str, str], list[tuple[int, Result]]],
    planned: Planned,
    stages: list[Stage],
) -> Row:
    model, target = owner
    names = dict.fromkeys((model, ""))
    rungs = {it.number: Rung(it, sum(planned.get((it.number, name), 0) for name in names)) for it in stages}
    for name in names:
        for number, result in by_owner.get((name, target), []):
            rungs[number].results.append(result)
    return Row(model, target, rungs)


def _by_test(reports: Iterable[Any]) -> dict[str, list[Any]]:
    tests: dict[str, list[Any]] = {}
    for report in reports:
        if getattr(report, "when", None) in ("setup", "call", "teardown"):
            tests.setdefault(report.nodeid, []).append(report)
    return tests


def _properties(phases: list[Any]) -> list[Any]:
    # Each report holds all that was recorded until then.
    longest: list[Any] = max((list(report.user_properties) for report in phases), key=len)
    return longest


def _stage_record(phases: list[Any]) -> dict[str, Any] | None:
    return next(records(_properties(phases), "stage"), None)


def _result(stage: dict[str, Any], phases: list[Any]) -> Result:
    outcome = _outcome(phases)
    properties = _properties(phases)
    comparisons = list(records(properties, "comparison"))
    tokens = list(records(properties, "tokens"))
    if outcome != "failed":
        # A test that passes though a comparison failed expected it to: a negative control, not a figure of the model.
        comparisons = [record for record in comparisons if record.get("passed", True)]
        tokens = [record for record in tokens if record.get("passed", True)]
    return Result(
        test=str(stage["test"]),
        case=str(stage["case"]),
        outcome=outcome,
        seconds=sum(float(report.duration) for report in phases),
        pcc=min((float(it["pcc"]) for it in comparisons if it.get("pcc") is not None), default=None),
        tokens=(min(float(it["top1"]) for it in tokens), min(float(it["top5"]) for it in tokens)) if tokens else None,
        kl=max((float(it["kl"]) for it in tokens if it.get("kl") is not None), default=None),
        reason=_reason(phases) if outcome == "skipped" else "",
    )


def _reason(phases: list[Any]) -> str:
    """What the test said when it skipped itself; pytest reports it as (file, line, "Skipped: reason")."""
    for report in phases:
        told = getattr(report, "longrepr", None)
        if report.outcome == "skipped" and isinstance(told, (tuple, list)) and len(told) == 3:
            return str(told[2]).removeprefix("Skipped: ")
    return ""


def _outcome(phases: list[Any]) -> str:
    outcomes = {report.outcome for report in phases}
    if "failed" in outcomes:
        return "failed"
    if "skipped" in outcomes:
        return "xfailed" if any(hasattr(report, "wasxfail") for report in phases) else "skipped"
    return "passed"
