"""`ttbringup roofline`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_ttbringup.cache_folder import cache_dir_of_commands
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import DEFAULT_PRECISION, MODEL, PRECISION, SYSTEM
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.work import FULL_STEP, Step
from pytest_ttbringup.targets import system_of

MOST_USERS = 32
DEFAULT_SYSTEM = "n150"
DEFAULT_PROMPT = 128
RESIDUALS = ("replicated", "fractured")


def add_to(commands: Any) -> None:
    """Add the subcommand to those of `ttbringup`."""
    roofline = commands.add_parser(
        "roofline",
        help="what a model will run at, at best",
        description="Records the operations that the ladder's TT-NN model issues in a decode step and a prefill, on a "
        "mock cluster and without weights, and says how fast a system can run them at best: bytes of DRAM and products "
        "of each against published peaks. No device is needed.",
    )
    roofline.add_argument(
        MODEL.flag,
        metavar=MODEL.metavar,
        dest="model",
        required=True,
        help="one of the Llama family: a known name (an unknown one lists all), a folder or file with a Hugging Face "
        "config.json, a GGUF file, or owner/model from the local Hugging Face cache; its weights are not needed",
    )
    roofline.add_argument(
        SYSTEM.flag,
        metavar=SYSTEM.metavar,
        dest="system",
        default=DEFAULT_SYSTEM,
        help="whose peaks (default: %(default)s)",
    )
    roofline.add_argument(
        PRECISION.flag, metavar=PRECISION.metavar, dest="precision", default=DEFAULT_PRECISION, help=PRECISION.help
    )
    roofline.add_argument(
        "--chips",
        type=int,
        metavar="N",
        help="chips that share a copy of the model, tensor parallel (default: as many as can share its heads evenly)",
    )
    roofline.add_argument(
        "--residual",
        choices=RESIDUALS,
        default=RESIDUALS[0],
        help="what each of several chips keeps of the hidden state: all of it, or its columns (default: %(default)s)",
    )
    roofline.add_argument(
        "--users", type=int, default=FULL_STEP.users, metavar="N", help="in a decode step (default: %(default)s)"
    )
    roofline.add_argument(
        "--position",
        type=int,
        default=FULL_STEP.position,
        metavar="N",
        help="of the token that each of them reads; as many are in the KV cache (default: %(default)s)",
    )
    roofline.add_argument(
        "--prefill", type=int, default=DEFAULT_PROMPT, metavar="N", help="tokens of a prompt (default: %(default)s)"
    )
    roofline.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="ops_perf_results_*.csv of TT-Metal's profiler, shown beside the bound",
    )
    roofline.add_argument(
        "--profiled",
        choices=("decode", "prefill"),
        default="decode",
        help="which step --profile is of (default: %(default)s)",
    )
    roofline.add_argument("--format", choices=("text", "md", "json"), default="text", help="(default: %(default)s)")
    roofline.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """The report.

    Raises:
        BringupError: an argument is illegal, or the model is unknown, can't be built or does not fit.
    """
    _require(1 <= options.users <= MOST_USERS, f"--users={options.users}", f"a step has 1 to {MOST_USERS} users")
    _require(options.position >= 0, f"--position={options.position}", "the first token is at position 0")
    _require(options.prefill >= 1, f"--prefill={options.prefill}", "a prompt has at least 1 token")
    system = system_of(options.system)
    peaks = peaks_of(system)

    from pytest_ttbringup.planning.roofline.profile import compare, read_profile

    profile = None if options.profile is None else read_profile(options.profile)

    from pytest_ttbringup.planning.roofline import formats
    from pytest_ttbringup.planning.roofline.bound import Bound
    from pytest_ttbringup.planning.roofline.model_steps import chips_for, mock_cluster, record_model
    from pytest_ttbringup.planning.roofline.report import Roofline
    from pytest_ttbringup.planning.roofline.what_if import alternatives
    from pytest_ttbringup.planning.sources import config_of

    name, config = config_of(options.model)
    chips = chips_for(config, system, options.chips)
    target = mock_cluster(system, cache_dir_of_commands())
    from ttnn_models.precision_file import precision_of

    precision = precision_of(options.precision)
    precision.check(config.num_hidden_layers, name)
    recorded = record_model(
        name,
        config,
        target,
        chips=chips,
        residual=options.residual,
        position=options.position,
        prompt=options.prefill,
        precision=precision,
        report=_say,
    )
    step = Step(options.users, options.position)
    decode, prefill = (Bound.of(it, peaks, step) for it in (recorded.decode, recorded.prefill))
    measured = None
    if profile is not None:
        measured = options.profiled, compare(decode if options.profiled == "decode" else prefill, profile)
    found = Roofline(
        model=name,
        system=system.name,
        precision=options.precision,
        chips=chips,
        copies=system.chips // chips,
        peaks=peaks,
        step=step,
        prompt=options.prefill,
        decode=decode,
        prefill=prefill,
        decode_alternatives=alternatives(recorded.decode, peaks, step),
        prefill_alternatives=alternatives(recorded.prefill, peaks, step),
        measured=measured,
    )
    return {"text": formats.as_text, "md": formats.as_markdown, "json": formats.as_json}[options.format](found)


def _require(condition: bool, given: str, reason: str) -> None:
    if not condition:
        raise BringupError(f"{given}: {reason}.")


def _say(line: str) -> None:
    """A line of progress, apart from the report."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
