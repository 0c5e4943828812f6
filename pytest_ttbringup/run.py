"""The run that pytest is configured for: its settings and its target, kept in `config.stash`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import DEFAULT_PRECISION
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.targets import Target, target_for

_TARGET = pytest.StashKey[Target]()


def prepare_target(config: pytest.Config) -> None:
    """Resolve the settings and set this process up for their target, once; undone when pytest is done.

    Raises:
        pytest.UsageError: a setting is illegal, or the target can't run here.
    """
    if _TARGET in config.stash:
        return
    target = target_for(settings_of(config))
    before = dict(os.environ)
    config.add_cleanup(lambda: _restore(before, after))
    after = before
    try:
        target.prepare()
    except BringupError as error:
        raise pytest.UsageError(str(error)) from error
    finally:
        after = dict(os.environ)
    config.stash[_TARGET] = target


def target_of(config: pytest.Config) -> Target:
    """The target of this run, prepared."""
    return config.stash[_TARGET]


def share_among_workers(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Have each pytest-xdist worker start with the variables that keep it apart from the others.

    They go into execnet's specification of its process, so they are set before anything is imported there, and again
    in the process that replaces a worker that crashed.

    Raises:
        pytest.UsageError: the target hasn't enough for so many workers; none was started.
    """
    try:
        environments = target_of(config).worker_environments(len(specs))
    except BringupError as error:
        raise pytest.UsageError(str(error)) from error
    for spec, environment in zip(specs, environments, strict=True):
        spec.env.update(environment)


def install_if_imported(config: pytest.Config) -> None:
    """Install the target as soon as something imported `ttnn`; before that there is nothing to install it around."""
    if "ttnn" in sys.modules:
        target_of(config).install()


def header(config: pytest.Config) -> str:
    """The line of the report header: target, TT-NN's version, a precision that was asked for, and why this target."""
    try:
        installed = f"ttnn {version('ttnn')}"
    except PackageNotFoundError:
        installed = "ttnn without version"
    target = target_of(config)
    numerics = f", numerics {target.arithmetic()}" if target.arithmetic() else ""
    settings = settings_of(config)
    precision = "" if settings.precision == DEFAULT_PRECISION else f", precision {settings.precision_name}"
    return f"ttbringup: target {target.header()}, {installed}{numerics}{precision}; {settings.target_reason}"


def check_models(names: Iterable[str]) -> None:
    """Check that the files of these models are there and whole.

    Raises:
        pytest.UsageError: one is not.
    """
    for name in names:
        from pytest_ttbringup.reference import catalog

        try:
            catalog.check(name)
        except BringupError as error:
            raise pytest.UsageError(str(error)) from error


def _restore(before: dict[str, str], after: dict[str, str]) -> None:
    """Put back the variables that differ between the two, and no others."""
    for name in {*before, *after}:
        if before.get(name) == after.get(name):
            continue
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)
