"""One choice: the rungs of a sweep climbed in a process of their own, so that a crash costs no other choice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree.ElementTree import ParseError

from pytest_ttbringup.option_table import PRECISION
from pytest_ttbringup.sweep.choices import Choice
from pytest_ttbringup.sweep.measurement import Measurement, read_junit

RUNGS = (2, 7)
"""The modules of a decode step, and teacher forcing."""

_CLIMBED = (0, 1)
"""pytest's exit codes when tests ran: all green, or some red."""
_EVERY = 10.0


def measure(
    choice: Choice, tests: Path, arguments: Sequence[str], folder: Path, report: Callable[[str], None]
) -> Measurement:
    """Climb the rungs in this precision.

    Args:
        choice: the precision.
        tests: the ladder.
        arguments: further ones of pytest: the model, the target.
        folder: for the JUnit XML and the output, both called after the choice.
        report: called with a line of progress now and then.

    Returns:
        What was measured. A run that stopped, or crashed, is a measurement that says so.
    """
    junit, log = (folder / f"{choice.name}{suffix}" for suffix in (".xml", ".log"))
    junit.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "pytest", str(tests), "-v", "-p", "no:cacheprovider"),
        *("-m", " or ".join(f"stage(number={number})" for number in RUNGS)),
        *(f"{PRECISION.flag}={choice.precision}", f"--junit-xml={junit}", *arguments),
    ]
    start = time.monotonic()
    code = _run(command, log, report)
    seconds = time.monotonic() - start
    stopped = f"pytest ended with exit code {code}: {_last_words(log)}"
    try:
        measured = read_junit(junit, choice.name, choice.precision, seconds)
    except (OSError, ParseError):
        return Measurement(choice.name, choice.precision, failures=(stopped,), seconds=seconds)
    if code in _CLIMBED and measured.tests:
        return measured
    return Measurement(choice.name, choice.precision, failures=(stopped, *measured.failures), seconds=seconds)


def _run(command: Sequence[str], log: Path, report: Callable[[str], None]) -> int:
    """The exit code; what is said goes to the log, and its tests are counted aloud."""
    done, told = 0, time.monotonic()
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            done += any(outcome in line for outcome in (" PASSED", " FAILED", " SKIPPED"))
            if time.monotonic() - told > _EVERY:
                told = time.monotonic()
                report(f"{done} tests done; {line.strip()[:80]}")
    return process.returncode


def _last_words(log: Path) -> str:
    """What pytest called an error if it did, else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("ERROR: ")), lines[-1] if lines else "it said nothing")
