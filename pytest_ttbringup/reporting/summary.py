"""The board in pytest's terminal summary, and what it has to be told during the run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_ttbringup.option_table import DEFAULT_MODEL, DEFAULT_PRECISION, MODEL, OPTIONS
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.reporting.board import board_lines, next_line, skip_lines
from pytest_ttbringup.reporting.bounds import bound_lines
from pytest_ttbringup.reporting.memory import memory_lines
from pytest_ttbringup.reporting.records import records
from pytest_ttbringup.reporting.standing import Planned, standing
from pytest_ttbringup.reporting.texts import text_lines
from pytest_ttbringup.stage_marker import marked_stage, model_of
from pytest_ttbringup.stages import STAGES

_PLANNED = pytest.StashKey[Planned]()
_WORKER_KEY = "ttbringup_planned"


def note_planned(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Remember how many tests each stage and model has; on a pytest-xdist worker, tell the controller."""
    planned = Counter((stage.number, model_of(item)) for item in items if (stage := marked_stage(item)))
    config.stash[_PLANNED] = planned
    if hasattr(config, "workeroutput"):
        config.workeroutput[_WORKER_KEY] = [[number, model, count] for (number, model), count in planned.items()]


def receive_planned(config: pytest.Config, workeroutput: Mapping[str, Any]) -> None:
    """Take over what a pytest-xdist worker collected; all workers collect the same."""
    if _WORKER_KEY in workeroutput:
        config.stash[_PLANNED] = Counter({(number, model): count for number, model, count in workeroutput[_WORKER_KEY]})


def write_board(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the board; nothing under `-q` or `--no-summary`, and nothing when no stage test ran."""
    config = terminalreporter.config
    if config.get_verbosity() < 0 or config.option.no_summary:
        return
    reports = [report for category in terminalreporter.stats.values() for report in category]
    rows = standing(reports, config.stash.get(_PLANNED, Counter()))
    if not rows:
        return
    settings = settings_of(config)
    precision = "" if settings.precision == DEFAULT_PRECISION else f", precision {settings.precision_name}"
    terminalreporter.write_sep("-", f"bring-up board{precision}")
    for line in board_lines(rows, terminalreporter._tw.fullwidth):
        terminalreporter.write_line(line, red="FAIL " in line)
    for line in (*skip_lines(rows), *memory_lines(reports), *bound_lines(reports)):
        terminalreporter.write_line(line)
    for line in text_lines(reports, terminalreporter._tw.fullwidth):
        terminalreporter.write_line(line)
    advice = next_line(
        rows,
        arguments=[*_paths(config), *_given(config)],
        model_arguments=_model_arguments(config),
        beside=_beside(config, reports),
    )
    terminalreporter.write_line(advice, bold=True)


def _paths(config: pytest.Config) -> list[str]:
    """The paths of this command line, so that the next run is of the same tests."""
    from_line = config.args_source is pytest.Config.ArgsSource.ARGS
    return [path for path in config.args if "::" not in path] if from_line else []


def _given(config: pytest.Config) -> list[str]:
    """The plugin's options of this command line, so that the next run is of the same kind."""
    given = ((option.flag, config.getoption(option.flag)) for option in OPTIONS if option is not MODEL)
    return [f"{flag}={value}" for flag, value in given if value is not None]


def _beside(config: pytest.Config, reports: Iterable[Any]) -> dict[int, list[str]]:
    """The stages of which a file `test_NN_*.py` lies beside that of a stage test that ran, and what collects it."""
    ran = {report.nodeid.partition("::")[0] for report in reports if any(records(_properties(report), "stage"))}
    folders = sorted({(config.rootpath / file).parent for file in ran})
    start = config.invocation_params.dir
    found: dict[int, list[str]] = {}
    for stage in STAGES:
        for file in (file for folder in folders for file in sorted(folder.glob(f"{stage.select}_*.py"))):
            found.setdefault(stage.number, [os.path.relpath(file, start), *_given(config)])
    return found


def _properties(report: Any) -> list[Any]:
    return getattr(report, "user_properties", None) or []


def _model_arguments(config: pytest.Config) -> dict[str, str]:
    from pytest_ttbringup.reference import catalog

    models = settings_of(config).models
    if models == (DEFAULT_MODEL,):
        return {}
    return {catalog.resolve(model).name: f"{MODEL.flag}={model}" for model in models}
