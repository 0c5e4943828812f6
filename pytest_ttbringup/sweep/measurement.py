"""What the ladder measured of one choice, read from the JUnit XML of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from pytest_ttbringup.reporting.figures import pcc_figure, percent
from pytest_ttbringup.reporting.records import records


@dataclass(frozen=True)
class Measurement:
    """One precision.

    Attributes:
        name: of the choice.
        precision: as `--tt-precision` takes it.
        modules: the least PCC of each module's comparisons, by its test.
        numerics: how the emulated target computed; empty on others.
        top1, top5, kl, perplexity: of teacher forcing, as `comparison.TokenAccuracy`; None when it measured nothing.
        tests: that ran.
        red: how many of them did not pass, skipped ones included.
        failures: which tests are red and why; also that nothing ran at all.
        seconds: the run took.
    """

    name: str
    precision: str
    modules: Mapping[str, float] = field(default_factory=dict)
    numerics: str = ""
    top1: float | None = None
    top5: float | None = None
    kl: float | None = None
    perplexity: float | None = None
    tests: int = 0
    red: int = 0
    failures: tuple[str, ...] = ()
    seconds: float = 0.0


def read_junit(path: Path, name: str, precision: str, seconds: float) -> Measurement:
    """What a run left in its JUnit XML.

    Raises:
        OSError: there is no such file.
        xml.etree.ElementTree.ParseError: it is not whole.
    """
    cases = [_Case.of(it) for it in ET.parse(path).getroot().iter("testcase")]
    modules: dict[str, float] = {}
    for case in cases:
        for record in case.found("comparison"):
            if record.get("pcc") is not None:
                modules[case.test] = min(record["pcc"], modules.get(case.test, 1.0))
    stage, tokens = (next((it for case in cases for it in case.found(kind)), {}) for kind in ("stage", "tokens"))
    return Measurement(
        name=name,
        precision=precision,
        modules=modules,
        numerics=stage.get("numerics", ""),
        top1=tokens.get("top1"),
        top5=tokens.get("top5"),
        kl=tokens.get("kl"),
        perplexity=tokens.get("perplexity"),
        tests=len(cases),
        red=sum(bool(case.reason) for case in cases),
        failures=tuple(_failures(cases)),
        seconds=seconds,
    )


class _Case(NamedTuple):
    """A test of the run: what it left, and why it is red (empty if it is not)."""

    test: str
    case: str
    records: list[dict[str, Any]]
    reason: str

    @classmethod
    def of(cls, element: ET.Element) -> _Case:
        left = list(records((it.get("name"), it.get("value")) for it in element.iter("property")))
        stage = next((it for it in left if it["kind"] == "stage"), {})
        test, case = str(stage.get("test", element.get("name"))), str(stage.get("case", ""))
        return cls(test, case, left, _reason(element, left))

    def found(self, kind: str) -> list[dict[str, Any]]:
        return [it for it in self.records if it["kind"] == kind]

    def worst(self) -> float:
        """The least PCC; 1 where none was measured."""
        return min((it["pcc"] for it in self.found("comparison") if it.get("pcc") is not None), default=1.0)


def _failures(cases: Sequence[_Case]) -> Iterator[str]:
    """For each test that is red in some cases: how many, and why the worst of them is."""
    for test in dict.fromkeys(case.test for case in cases):
        of_test = [case for case in cases if case.test == test]
        red = sorted((case for case in of_test if case.reason), key=_Case.worst)
        if red:
            count = f" ({len(red)} of {len(of_test)} cases, worst {red[0].case})" if len(of_test) > 1 else ""
            yield f"{test}{count}: {red[0].reason}"


def _reason(element: ET.Element, left: Sequence[dict[str, Any]]) -> str:
    """Why a test is red: what a comparison missed, in the figures of its record; else the message's first line."""
    outcomes = [it for tag in ("failure", "error", "skipped") for it in element.iter(tag)]
    if not outcomes:
        return ""
    for it in left:
        if it.get("passed") is False and it["kind"] == "tokens":
            return _tokens(it)
        if it.get("passed") is False and it["kind"] == "comparison" and it["reason"] == "pcc":
            return f"PCC {pcc_figure(it['pcc'])} < {it['threshold']}"
    said = (outcomes[0].get("message") or "").splitlines()
    return f"{outcomes[0].tag}: {said[0]}" if said else outcomes[0].tag


def _tokens(record: dict[str, Any]) -> str:
    floors = [
        f"{name} {percent(record[key])} < {percent(record[f'{key}_threshold'])}"
        for name, key in (("top-1", "top1"), ("top-5", "top5"))
        if record[key] < record[f"{key}_threshold"]
    ]
    kl = record.get("kl")
    if kl is None or kl > record["kl_threshold"]:
        floors.append(f"KL {'undefined' if kl is None else format(kl, '.4f')} > {record['kl_threshold']}")
    return ", ".join(floors)
