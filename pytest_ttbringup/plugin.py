"""The pytest hooks. Each hands over to the module that knows; nothing heavy is imported before a test needs it."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_ttbringup import options, parametrization, run, stage_marker
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.quick_imports import quick_imports
from pytest_ttbringup.reporting import failure, summary

pytest_plugins = (
    "pytest_ttbringup.fixtures.device",
    "pytest_ttbringup.fixtures.progress",
    "pytest_ttbringup.fixtures.reference",
    "pytest_ttbringup.fixtures.roofline",
    "pytest_ttbringup.fixtures.compare",
    "pytest_ttbringup.fixtures.teacher_forcing",
    "pytest_ttbringup.fixtures.tt_metal",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the command-line options and ini settings."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Prepare the target before conftest files import ttnn, unless pytest only prints its help."""
    if not _prints_help(early_config.known_args_namespace):
        run.prepare_target(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; prepare the target if a conftest file brought the plugin in, too late for the hook above."""
    config.addinivalue_line("markers", stage_marker.MARKER)
    if not _prints_help(config.option):
        run.prepare_target(config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which target runs the tests, and why that one."""
    return run.header(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the models here if pytest-xdist's controller is to start workers: it collects nothing itself."""
    if session.config.pluginmanager.has_plugin("dsession"):
        run.check_models(settings_of(session.config).models)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the cache folder, which links to TT-Metal's sources, should it lie in the project."""
    return True if collection_path == settings_of(config).cache_dir.absolute() else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `model` and `layer`, and refuse unknown stages where they are written."""
    try:
        stage_marker.marked_stage(metafunc.definition)
        parametrization.parametrize(metafunc)
    except BringupError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from error


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `-m "stage(number=7)"` find the item however its marker was written."""
    stage_marker.normalise_marker(item)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without garbage collection: test modules import torch, transformers and ttnn, which stay."""
    with quick_imports():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which rungs exist, before `-k` and `-m` leave any out."""
    summary.note_planned(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a missing or corrupt model before any device is opened."""
    if not hasattr(session.config, "workerinput"):  # the controller has done it
        run.check_models(stage_marker.models_used(session.items))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Record the test's stage, and finish setting up the target if a test module imported ttnn."""
    stage_marker.record_stage(item)
    run.install_if_imported(item.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a stage test that compared nothing."""
    result = yield
    stage_marker.require_evidence(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show this package's own errors by their message."""
    report = yield
    failure.tell_plainly(report, call)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show where each model stands and what to run next."""
    summary.write_board(terminalreporter)


def _prints_help(options: argparse.Namespace) -> bool:
    return bool(options.help or options.version or options.markers)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Give pytest-xdist's workers disjoint devices before they start."""
    run.share_among_workers(config, specs)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Learn from a pytest-xdist worker which rungs exist."""
    summary.receive_planned(node.config, getattr(node, "workeroutput", {}))
