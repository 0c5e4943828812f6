"""A pytest plugin for foreign_tests.py: some items of each test function, a time limit each, a JSON line for each."""

from __future__ import annotations

import json
import random
import signal
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options that only foreign_tests.py gives."""
    parser.addoption("--foreign-out", type=Path, required=True)
    parser.addoption("--foreign-items", type=int, required=True)
    parser.addoption("--foreign-seconds", type=int, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Record to the file that was asked for."""
    config.pluginmanager.register(_Recorder(config.getoption("--foreign-out")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep so many items of each function, drawn with the function's name as the seed."""
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        functions[item.nodeid.partition("[")[0]].append(item)
    most = config.getoption("--foreign-items")
    kept = {
        item for name, among in functions.items() for item in random.Random(name).sample(among, min(most, len(among)))
    }
    items[:] = [item for item in items if item in kept]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Raise in a test that takes too long."""
    seconds = item.config.getoption("--foreign-seconds")

    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s for the test")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class _Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def _write(self, nodeid: str, outcome: str, text: str) -> None:
        with self._path.open("a") as lines:  # opened for each: the process may crash
            lines.write(json.dumps({"id": nodeid, "outcome": outcome, "text": text[:4000]}) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "failed", str(report.longrepr)[-1500:])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else str(report.longrepr or "")
        expected = hasattr(report, "wasxfail")
        self._write(report.nodeid, "passed" if expected and not report.failed else report.outcome, text)
