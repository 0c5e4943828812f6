"""What the ladder measured of one choice, read from the JUnit XML of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pytest_ttbringup.reporting.records import records


@dataclass(frozen=True)
class Measurement:
    """One precision.

    Attributes:
        name: of the choice.
        precision: as `--tt-precision` takes it.
        pcc: the least of the modules' comparisons; None when none was measured.
        pcc_at: where that was.
        top1, top5, kl, perplexity: of teacher forcing, as `comparison.TokenAccuracy`; None when it measured nothing.
        weight_bytes: that a decode step reads of one chip; None when the model was not built.
        cache_bytes: the same of the KV cache, for one position of all users.
        tests: that ran.
        failures: what is red and why, one line each; also when nothing ran at all.
        seconds: the run took.
    """

    name: str
    precision: str
    pcc: float | None = None
    pcc_at: str = ""
    top1: float | None = None
    top5: float | None = None
    kl: float | None = None
    perplexity: float | None = None
    weight_bytes: float | None = None
    cache_bytes: float | None = None
    tests: int = 0
    failures: tuple[str, ...] = ()
    seconds: float = 0.0


def read_junit(path: Path, name: str, precision: str, seconds: float) -> Measurement:
    """What a run left in its JUnit XML.

    Raises:
        OSError: there is no such file.
        xml.etree.ElementTree.ParseError: it is not whole.
    """
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    found: list[dict[str, Any]] = []
    failures = []
    for case in cases:
        of_case = list(records(_properties(case)))
        stage = next((it for it in of_case if it["kind"] == "stage"), {})
        label = f"{stage.get('test', case.get('name'))} {stage.get('case', '')}".strip()
        found += [{**it, "label": label} for it in of_case]
        failures += [f"{label}: {reason}" for reason in _reasons(case, of_case)]
    compared = [it for it in found if it["kind"] == "comparison" and it.get("pcc") is not None]
    worst = min(compared, key=lambda it: float(it["pcc"]), default={})
    tokens = next((it for it in found if it["kind"] == "tokens"), {})
    step = next((it for it in found if it["kind"] == "decode step"), {})
    return Measurement(
        name=name,
        precision=precision,
        pcc=worst.get("pcc"),
        pcc_at=worst.get("label", ""),
        top1=tokens.get("top1"),
        top5=tokens.get("top5"),
        kl=tokens.get("kl"),
        perplexity=tokens.get("perplexity"),
        weight_bytes=step.get("weights"),
        cache_bytes=step.get("cache"),
        tests=len(cases),
        failures=tuple(failures),
        seconds=seconds,
    )


def _properties(case: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    return [(it.get("name"), it.get("value")) for it in case.iter("property")]


def _reasons(case: ElementTree.Element, of_case: Sequence[dict[str, Any]]) -> list[str]:
    """Why a test is red: what a comparison missed, in the figures of its record; else the message's first line."""
    outcomes = [it for tag in ("failure", "error") for it in case.iter(tag)]
    if not outcomes:
        return [f"skipped: {it.get('message')}" for it in case.iter("skipped")]
    missed = [it for it in of_case if it.get("passed") is False]
    for it in missed:
        if it["kind"] == "tokens":
            return [_tokens(it)]
        if it["kind"] == "comparison" and it["reason"] == "pcc":
            return [f"PCC {it['pcc']:.5f} < {it['threshold']}"]
    said = (outcomes[0].get("message") or "").splitlines()
    return [said[0] if said else outcomes[0].tag]


def _tokens(record: dict[str, Any]) -> str:
    floors = [
        f"{name} {record[key]:.1%} < {record[f'{key}_threshold']:.1%}"
        for name, key in (("top-1", "top1"), ("top-5", "top5"))
        if record[key] < record[f"{key}_threshold"]
    ]
    kl = record.get("kl")
    if kl is None or kl > record["kl_threshold"]:
        floors.append(f"KL {'undefined' if kl is None else format(kl, '.4f')} > {record['kl_threshold']}")
    return ", ".join(floors)
