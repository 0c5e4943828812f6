"""How a failure reads: its message first, without the class and the plugin's own stack in front of it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ttbringup.errors import BringupError


def tell_plainly(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Shorten the report of an error of this package's own.

    A set-up error keeps its message only. In the test itself the stack stays, because it leads to the model's line,
    but the message is told without the name of its class, which would fill the line of the short summary.
    """
    if call.excinfo is None or not type(call.excinfo.value).__module__.startswith("pytest_ttbringup."):
        return
    if call.when != "call" and isinstance(call.excinfo.value, BringupError):
        report.longrepr = call.excinfo.getrepr(style="value")
    error = type(call.excinfo.value)
    _strip(report.longrepr, f"{error.__module__}.{error.__qualname__}: ")


def _strip(longrepr: Any, prefix: str) -> None:
    crash, traceback = getattr(longrepr, "reprcrash", None), getattr(longrepr, "reprtraceback", None)
    if crash is not None:
        crash.message = crash.message.removeprefix(prefix)
    for entry in traceback.reprentries if traceback is not None else ():
        entry.lines[:] = [line.replace(prefix, "", 1) for line in entry.lines]
