"""Runs of pytest without tests: commands get their settings as tests do, from arguments, environment and ini file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

import pytest

from pytest_ttbringup.errors import BringupError

PLUGIN = "pytest_ttbringup.plugin"

T = TypeVar("T")


def run_without_tests(arguments: Sequence[str], instead: Callable[[pytest.Config], None]) -> int:
    """Let pytest read its settings and set the target up, then call `instead`.

    Returns:
        pytest's exit code: 4 if a setting or `instead` was refused, after the error was printed; 2 for an interrupt.
    """
    installed = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    loading = () if installed else ("-p", PLUGIN)  # in a checkout that is not installed
    return pytest.main(
        [*loading, "--noconftest", "--assert=plain", "-s", *arguments], plugins=[_InsteadOfTests(instead)]
    )


def read_settings(arguments: Sequence[str], read: Callable[[pytest.Config], T]) -> T:
    """What `read` makes of the configuration that pytest would run tests with; no target is set up.

    Raises:
        BringupError: a setting is illegal.
    """
    found: list[T] = []
    refused: list[str] = []

    def instead(config: pytest.Config) -> None:
        try:
            found.append(read(config))
        except (BringupError, pytest.UsageError) as error:
            refused.append(str(error))

    # For a run that only prints, the plugin does not set up a target in this process.
    code = run_without_tests(["--markers", *arguments], instead)
    if refused or not found:
        raise BringupError(*refused or [f"pytest ended with exit code {code} before it had read its settings."])
    return found[0]


class _InsteadOfTests:
    """The pytest plugin that takes the place of collecting and running tests."""

    def __init__(self, instead: Callable[[pytest.Config], None]) -> None:
        self._instead = instead

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> pytest.ExitCode:
        """Do it."""
        try:
            self._instead(config)
        except BringupError as error:
            raise pytest.UsageError(str(error)) from error
        except KeyboardInterrupt:
            return pytest.ExitCode.INTERRUPTED
        return pytest.ExitCode.OK
