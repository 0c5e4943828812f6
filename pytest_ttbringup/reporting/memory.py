"""The memory that tests used at most: recorded with each test, and the greatest of each model below the board."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pytest_ttbringup.reporting.records import add_record, records

_KINDS = {"l1": "L1", "dram": "DRAM"}


def note_memory(item: pytest.Item) -> Callable[[dict[str, Any]], None]:
    """A function that records the memory use of one device, as `Target.end_test` gives it, with a test."""

    def note(memory: dict[str, Any]) -> None:
        add_record(item, {"kind": "memory", **memory})

    return note


def memory_lines(reports: Iterable[Any]) -> list[str]:
    """For each model and target one line: the greatest peak of each kind of memory, and the test it was in.

    Args:
        reports: pytest's reports of all phases.
    """
    greatest: dict[tuple[str, str], dict[str, tuple[int, dict[str, int], str]]] = {}
    for report in reports:
        if getattr(report, "when", None) != "teardown":  # the last, which has all that was recorded
            continue
        stage = next(records(report.user_properties, "stage"), None)
        if stage is None:
            continue
        peaks = greatest.setdefault((stage["model"], stage["target"]), {})
        for record in records(report.user_properties, "memory"):
            for kind in _KINDS:
                use = record.get(kind)
                if use and use["peak"] > peaks.get(kind, (-1,))[0]:
                    peaks[kind] = (use["peak"], use, f"{stage['test']} {stage['case']}".rstrip())
    lines = []
    for (model, target), peaks in sorted(greatest.items()):
        words = [f"{_KINDS[kind]} {_use(kind, use)} ({test})" for kind, (_, use, test) in peaks.items()]
        if words:
            lines.append(f"peak memory of {model or 'tests'} ({target}): " + ", ".join(words))
    return lines


def _use(kind: str, use: dict[str, int]) -> str:
    banks = use["banks"] if kind == "dram" else 1
    per = "" if kind == "dram" else " per core, circular buffers included"
    return f"{_bytes(use['peak'] * banks)} of {_bytes(use['size'] * banks)}{per}"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit != "MiB" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.2f} GiB"
