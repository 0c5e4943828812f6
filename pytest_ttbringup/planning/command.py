"""`ttbringup plan`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import re
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import SYSTEM
from pytest_ttbringup.planning.footprint import Workload
from pytest_ttbringup.targets import System, system_of
from pytest_ttbringup.targets.systems import CUSTOM, SYSTEMS


def add_to(commands: Any) -> None:
    """Add the subcommand to those of `ttbringup`."""
    plan = commands.add_parser(
        "plan",
        help="does a model fit, on what, and how many copies of it",
        description="Says for each system whether a model fits in its DRAM, split over how many chips by tensor "
        "parallelism, and how many copies run side by side. Reads the model's configuration, not its weights.",
    )
    plan.add_argument(
        "model",
        metavar="MODEL",
        help="a known name (an unknown one lists them), a folder or file with a Hugging Face config.json, a GGUF file, "
        "or owner/model from the local Hugging Face cache",
    )
    plan.add_argument(
        SYSTEM.flag,
        metavar=SYSTEM.metavar,
        dest="system",
        help="only this system, or several without links between them: 4xn150 (default: all)",
    )
    plan.add_argument("--weights", default=Workload.weights, metavar="DTYPE", help="of matrices (default: %(default)s)")
    plan.add_argument("--cache", default=Workload.cache, metavar="DTYPE", help="of the KV cache (default: %(default)s)")
    plan.add_argument("--batch", type=int, default=Workload.batch, help="users decoded together (default: %(default)s)")
    plan.add_argument(
        "--context",
        type=int,
        help=f"positions of each user (default: {Workload.context}, or the model's own if fewer)",
    )
    plan.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """The report.

    Raises:
        BringupError: an argument is illegal, or the model is unknown or can't be counted.
    """
    machines = _all_machines() if options.system is None else [_machines(options.system)]
    context = Workload.context if options.context is None else options.context
    Workload(options.weights, options.cache, options.batch, context)  # refuses before anything heavy is imported
    from pytest_ttbringup.planning.model_size import size_of
    from pytest_ttbringup.planning.plan import plan
    from pytest_ttbringup.planning.report import as_text
    from pytest_ttbringup.planning.sources import config_of

    name, config = config_of(options.model)
    size = size_of(config, name)
    if options.context is not None and options.context > size.max_context:
        raise BringupError(
            f"--context={options.context}: {name} has {size.max_context} positions (max_position_embeddings). Ask for "
            "no more."
        )
    work = Workload(options.weights, options.cache, options.batch, min(context, size.max_context))
    return as_text(size, work, [plan(size, work, system, count) for system, count in machines])


def _machines(name: str) -> tuple[System, int]:
    several = re.fullmatch(r"([1-9]\d*)x(.+)", name)
    return (system_of(several[2]), int(several[1])) if several else (system_of(name), 1)


def _all_machines() -> list[tuple[System, int]]:
    """One of each system, and the TT-LoudBox TW-02001: four n150 without links between them."""
    n150, *others = (system for system in SYSTEMS if system.name != CUSTOM)
    return [(n150, 1), (n150, 4), *((system, 1) for system in others)]
