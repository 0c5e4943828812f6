"""Commands that get their settings as tests do: from arguments, environment and ini file, read by pytest itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Generic, TypeVar

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import Option

PLUGIN = "pytest_ttbringup.plugin"

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser, options: Sequence[Option], helps: Mapping[Option, str]) -> None:
    """Let a command take these options, with pytest's help where `helps` has none for it."""
    for option in options:
        text = helps.get(option, option.help)
        parser.add_argument(option.flag, metavar=option.metavar, dest=option.ini, help=text)


def arguments_of(parsed: argparse.Namespace, options: Sequence[Option]) -> list[str]:
    """Those of the options that were given, as arguments of pytest."""
    values = ((option.flag, getattr(parsed, option.ini)) for option in options)
    return [f"{flag}={value}" for flag, value in values if value is not None]


def with_settings(arguments: Sequence[str], call: Callable[[pytest.Config], T]) -> T:
    """What `call` makes of the configuration that pytest would run tests with.

    No target is set up; `run.prepare_target` does it, and what it sets is undone when `call` has returned.

    Raises:
        BringupError: a setting is illegal, or what `call` raised.
    """
    instead = _InsteadOfTests(call)
    installed = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    loading = () if installed else ("-p", PLUGIN)  # in a checkout that is not installed
    # For a run that only prints, as with --markers, the plugin does not set up a target.
    code = pytest.main([*loading, "--noconftest", "--assert=plain", "-s", "--markers", *arguments], plugins=[instead])
    if instead.refused is not None:
        raise BringupError(str(instead.refused)) from instead.refused
    if not instead.made:
        raise BringupError(f"pytest ended with exit code {code} before it had read its settings.")
    return instead.made[0]


class _InsteadOfTests(Generic[T]):
    """The pytest plugin that takes the place of collecting and running tests."""

    def __init__(self, call: Callable[[pytest.Config], T]) -> None:
        self._call = call
        self.made: list[T] = []
        self.refused: Exception | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> pytest.ExitCode:
        """Do it; pytest, which would print the error in its own form, sees none."""
        try:
            self.made.append(self._call(config))
        except (BringupError, pytest.UsageError) as error:
            self.refused = error
        return pytest.ExitCode.OK
