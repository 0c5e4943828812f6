"""`ttbringup sweep`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.files import write_atomically
from pytest_ttbringup.option_table import (
    CACHE,
    DEFAULT_MODEL,
    LAYERS,
    MESH,
    MODEL,
    NUMERICS,
    PCC_THRESHOLD,
    SEED,
    SYSTEM,
    TARGET,
)
from pytest_ttbringup.options import Settings, settings_of
from pytest_ttbringup.planning.footprint import Workload
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.work import FULL_STEP
from pytest_ttbringup.sweep import plot, table
from pytest_ttbringup.sweep.choices import FOLDER, check_files, choices_of
from pytest_ttbringup.sweep.ladder_run import measure
from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.sweep.speed import Speed, decode_bound
from pytest_ttbringup.targets import System, system_of
from pytest_ttbringup.without_tests import add_arguments, arguments_of, with_settings

_PASSED_ON = (MODEL, TARGET, SYSTEM, MESH, NUMERICS, PCC_THRESHOLD, LAYERS, SEED, CACHE)
_HELP = {MODEL: f"the model to compare them on, named as for pytest (default: {DEFAULT_MODEL})"}


def add_to(commands: Any) -> None:
    """Add the subcommand to those of `ttbringup`."""
    sweep = commands.add_parser(
        "sweep",
        help="the ladder in several precisions: accuracy against speed",
        description="Climbs two rungs, the modules of a decode step and teacher forcing, once in each precision, and "
        "shows what each costs in accuracy and how fast it can be at most: a table with the Pareto front, and a plot. "
        "The options --tt-... mean what they mean to pytest, and are read from the environment and the ini file, too.",
    )
    sweep.add_argument(
        "--choices",
        action="append",
        default=[],
        metavar="PRECISIONS",
        help="presets and TOML files, separated by commas; may be repeated (default: the presets and the files of "
        f"TESTS/{FOLDER})",
    )
    sweep.add_argument("--tests", type=Path, default=Path("model_tests"), help="the ladder (default: %(default)s)")
    sweep.add_argument(
        "--context", type=int, help=f"positions behind each user (default: {Workload.context}, or the model's own)"
    )
    sweep.add_argument("--out", type=Path, metavar="DIR", help="write the table, the plot and every choice there, too")
    add_arguments(sweep, _PASSED_ON, _HELP)
    sweep.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """The report.

    Raises:
        BringupError: an argument is illegal, a precision is wrong, or the folder can't be written.
        SystemExit: with 1, after the report was printed, if the ladder stopped in some choice.
    """
    from pytest_ttbringup.reference import catalog

    tests = options.tests.absolute()
    if not tests.is_dir():
        raise BringupError(f"--tests={options.tests}: there is no such folder. Name that of the ladder's tests.")
    settings, arguments = _settings(options, tests)
    model, target, system = settings.models[0], settings.target, system_of(settings.system)
    peaks_of(system)  # refuses one without published peaks, before anything runs
    entry = catalog.resolve(model)
    catalog.check(model)
    choices = choices_of(options.choices, tests)
    context = _context(options, entry.name, _positions(model))
    bound = (
        f"a decode step of {FULL_STEP.users} users with {context} positions each on one chip of {system.name}, "
        "as `ttbringup roofline` computes it: no run beats it"
    )
    if options.out:
        _require_writable(options.out)
    check_files(choices, tests, entry.name, catalog.layer_count(model), options.out)
    with tempfile.TemporaryDirectory(prefix="ttbringup-sweep-") as name:
        folder = Path(name)
        measured: list[Measurement] = []
        speeds: list[Speed] = []
        start = time.monotonic()
        for number, choice in enumerate(choices, start=1):
            report = _reporter(f"{choice.name} ({number} of {len(choices)})", start)
            report("starts")
            measured.append(measure(choice, tests, arguments, folder, report))
            report(f"{measured[-1].tests} tests, {measured[-1].red} red; the bound on its speed is computed")
            speeds.append(decode_bound(choice, model, system, context, settings.cache_dir))
            rows = table.rows_of(measured, speeds)
            what = _what(entry.name, target, system, measured)
            if options.out:  # after each choice, so that a sweep which is stopped has shown something
                about: dict[str, object] = {
                    "model": entry.name,
                    "target": target,
                    "system": system.name,
                    "bound": bound,
                }
                _write(options.out, rows, what, about)
                _keep(folder, choice.name, options.out)
    head = f"precision sweep of {what}\nMB/step and tokens/s/user are bounds: {bound}\n"
    report_of_all = "\n".join([head, table.as_text(rows), plot.as_text(rows)])
    if stopped := [it.name for it in measured if not it.tests]:
        sys.stdout.write(report_of_all)
        sys.stdout.flush()
        sys.stderr.write(f"ttbringup: the ladder stopped in {', '.join(stopped)}, so nothing was measured of it.\n")
        raise SystemExit(pytest.ExitCode.TESTS_FAILED)
    return report_of_all


def _what(model: str, target: str, system: System, measured: Sequence[Measurement]) -> str:
    numerics = next((f", numerics {it.numerics}" for it in measured if it.numerics), "")
    return f"{model} on {target} ({system.name}), ttnn {version('ttnn')}{numerics}"


def _reporter(name: str, start: float) -> Callable[[str], None]:
    def report(line: str) -> None:
        sys.stderr.write(f"sweep, {time.monotonic() - start:4.0f} s: {name}: {line}\n")
        sys.stderr.flush()

    return report


def _settings(options: argparse.Namespace, tests: Path) -> tuple[Settings, list[str]]:
    """The settings of every run, but for the precision, and the arguments that give a run just these.

    Raises:
        BringupError: one is illegal, which no run has to find out.
    """
    flags = arguments_of(options, _PASSED_ON)
    settings = with_settings([*flags, str(tests)], settings_of)
    if len(settings.models) != 1:
        raise BringupError(f"{MODEL.flag}={','.join(settings.models)}: a sweep is of one model; name one.")
    return settings, flags


def _positions(model: str) -> int:
    from pytest_ttbringup.reference import catalog

    return catalog.resolve(model).attributes().max_position_embeddings


def _context(options: argparse.Namespace, model: str, longest: int) -> int:
    context = min(Workload.context, longest) if options.context is None else options.context
    if not 1 <= context <= longest:
        raise BringupError(f"--context={context}: {model} has {longest} positions. Ask for 1 to {longest}.")
    return int(context)


def _require_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BringupError(
            f"--out={out}: can't write to this folder: {error.strerror or error}. Give one that you may write."
        ) from error


def _keep(folder: Path, name: str, out: Path) -> None:
    """Copy what a run left there, which is whole now."""
    for file in folder.glob(f"{escape(name)}.*"):
        write_atomically(out / file.name, file.read_bytes())


def _write(folder: Path, rows: Sequence[table.Row], what: str, about: dict[str, object]) -> None:
    files = {
        "sweep.md": f"# Precision sweep of {what}\n\n{about['bound']}\n\n{table.as_markdown(rows)}",
        "sweep.csv": table.as_csv(rows),
        "sweep.json": table.as_json(rows, about),
        "sweep.svg": plot.as_svg(rows, f"Precisions of {what}"),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
