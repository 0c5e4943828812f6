"""`ttbringup generate`: its arguments."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from pytest_ttbringup.option_table import (
    CACHE,
    DEFAULT_MODEL,
    MESH,
    MODEL,
    NUMERICS,
    PARALLEL,
    PRECISION,
    SEED,
    SYSTEM,
    TARGET,
)
from pytest_ttbringup.without_tests import add_arguments, arguments_of, with_settings

IMPLEMENTATION = "ttnn_models"
_HELP = {MODEL: f"the model to write with, named as for pytest (default: {DEFAULT_MODEL})"}
_PASSED_ON = (MODEL, TARGET, SYSTEM, MESH, PARALLEL, NUMERICS, PRECISION, SEED, CACHE)


def add_to(commands: Any) -> None:
    """Add the subcommand to those of `ttbringup`."""
    generate = commands.add_parser(
        "generate",
        help="text from the TT-NN model",
        description="Continues prompts with the TT-NN model and prints the text as it comes. The options --tt-... mean "
        "what they mean to pytest, and are read from the environment and the ini file, too.",
    )
    generate.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="may be repeated (default: standard input)"
    )
    generate.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="put prompts into the model's chat template (default: if it has one)",
    )
    generate.add_argument("--system", metavar="TEXT", help="the chat's system message (default: the template's)")
    generate.add_argument(
        "--max-new-tokens", type=int, default=64, metavar="N", help="most tokens for each prompt (default: %(default)s)"
    )
    generate.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="draw tokens (default: 0, the likeliest always)"
    )
    generate.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest (default: all)")
    generate.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="of these from those that sum to P (default: 1)"
    )
    generate.add_argument("--seed", type=int, metavar="N", help="of the draws; prompt i gets N + i (default: none)")
    generate.add_argument("--trace", action="store_true", help="capture the decode step, and replay it")
    generate.add_argument(
        "--compare-reference", action="store_true", help="show the reference's text, too; it takes its time on the CPU"
    )
    generate.add_argument(
        "--implementation",
        default=IMPLEMENTATION,
        metavar="MODULE",
        help="the TT-NN model: a package found by pytest's pythonpath, whose module build has a plan_generator "
        "(default: %(default)s)",
    )
    add_arguments(generate, _PASSED_ON, _HELP)
    generate.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Print the text; what is left to print is empty.

    Raises:
        BringupError: an argument is wrong, or the model, its implementation or the target is not there.
    """

    def call(config: pytest.Config) -> None:
        from pytest_ttbringup.generation.run import generate
        from pytest_ttbringup.run import prepare_target

        prepare_target(config)
        generate(config, options)

    with_settings(arguments_of(options, _PASSED_ON), call)
    return ""
