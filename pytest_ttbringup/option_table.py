"""The options: each setting under its name on the command line, in the environment and in the ini file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import pytest

from pytest_ttbringup.reference.catalog import DEFAULT_SEED
from pytest_ttbringup.targets import TARGET_NAMES
from pytest_ttbringup.targets.emulated import DEFAULT_NUMERICS
from pytest_ttbringup.targets.systems import SYSTEMS

DEFAULT_MODEL = "tiny-llama"

PRESETS = ("accuracy", "default", "performance")
"""Precisions that every model of the ladder knows by name."""
DEFAULT_PRECISION = "default"


@dataclass(frozen=True)
class Option:
    """One setting under its three names."""

    flag: str
    environment: str
    ini: str
    metavar: str
    help: str
    repeatable: bool = False


TARGET = Option(
    "--tt-target",
    "TTBRINGUP_TARGET",
    "tt_target",
    "TARGET",
    f"what executes TT-NN: {', '.join(TARGET_NAMES)} "
    "(default: simulator where TT_METAL_SIMULATOR is set, silicon where a Tenstorrent device is, else emulated)",
)
SYSTEM = Option(
    "--tt-system",
    "TTBRINGUP_SYSTEM",
    "tt_system",
    "SYSTEM",
    f"the machine: {', '.join(system.name for system in SYSTEMS)} (default: what the target finds; "
    "when emulated the smallest Wormhole system with such a mesh, n150 for one chip)",
)
MESH = Option("--tt-mesh", "TTBRINGUP_MESH", "tt_mesh", "RxC", "mesh shape, rows x columns (default: the system's)")
PARALLEL = Option(
    "--tt-parallel",
    "TTBRINGUP_PARALLEL",
    "tt_parallel",
    "KIND",
    "how a mesh of several chips is used: dp (data parallel: each chip is an instance with 32 users of its own), tp "
    "(tensor parallel: all chips share one), dpxtp (each row of the mesh shares one) (default: as the model's plan has "
    "it: dp if it fits one chip)",
)
PCC_THRESHOLD = Option(
    "--pcc-threshold",
    "TTBRINGUP_PCC_THRESHOLD",
    "tt_pcc_threshold",
    "PCC",
    "the least PCC of every comparison, above 0 and at most 1; overrides the tests' (default: the test's or stage's)",
)
MODEL = Option(
    "--tt-model",
    "TTBRINGUP_MODEL",
    "tt_model",
    "NAME",
    "the model to bring up: a known name, the path of a GGUF file or Hugging Face folder, or owner/model in its "
    f"cache; may be repeated or list several, separated by commas (default: {DEFAULT_MODEL})",
    repeatable=True,
)
LAYERS = Option(
    "--tt-layers",
    "TTBRINGUP_LAYERS",
    "tt_layers",
    "LAYERS",
    "the layers tests of one layer run on: edges (first, middle, last), all, or numbers as in 0,3,7 (default: edges)",
)
SEED = Option(
    "--tt-seed", "TTBRINGUP_SEED", "tt_seed", "N", f"seed of random inputs and weights (default: {DEFAULT_SEED})"
)
CACHE = Option(
    "--tt-cache",
    "TTBRINGUP_CACHE",
    "tt_cache",
    "DIR",
    "folder for compiled kernels and converted weights (default: ttbringup in the user's cache folder)",
)

NUMERICS = Option(
    "--tt-numerics",
    "TTBRINGUP_NUMERICS",
    "tt_numerics",
    "NUMERICS",
    "how the emulated target computes: device (as the device, quickly), exact (float32, results rounded to their "
    f"formats), bitexact (as the device, bit by bit; slow) (default: {DEFAULT_NUMERICS})",
)

PRECISION = Option(
    "--tt-precision",
    "TTBRINGUP_PRECISION",
    "tt_precision",
    "PRECISION",
    f"number formats and math fidelity of the model: {', '.join(PRESETS)}, or a TOML file with a precision for each "
    f"module and layer (default: {DEFAULT_PRECISION})",
)

OPTIONS = (TARGET, SYSTEM, MESH, PARALLEL, NUMERICS, PRECISION, PCC_THRESHOLD, MODEL, LAYERS, SEED, CACHE)


@dataclass(frozen=True)
class Given:
    """A value somebody gave, and how it reads where they gave it."""

    value: str
    shown: str
    fix: str

    def refuse(self, problem: str, remedy: str = "") -> NoReturn:
        """Stop the run: `problem` says what is wrong with the value, `remedy` what to give instead."""
        raise pytest.UsageError(f"{self.shown}: {problem}" + (f" {remedy}" if remedy else ""))


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and their ini settings, all in one group of `pytest --help`."""
    group = parser.getgroup("ttbringup", "bring-up of models on Tenstorrent devices")
    for option in OPTIONS:
        text = f"{option.help} [environment: {option.environment}, ini: {option.ini}]"
        action = "append" if option.repeatable else "store"
        group.addoption(option.flag, action=action, metavar=option.metavar, default=None, help=text)
        parser.addini(option.ini, f"as {option.flag}: {option.help}", type="string", default=None)


def given(config: pytest.Config, option: Option) -> Given | None:
    """The value of an option from the first place that has one, else None. An empty variable counts as unset."""
    value = _on_command_line(config, option)
    if value is not None:
        text = value if isinstance(value, str) else ",".join(value)
        return Given(text, f"{option.flag}={text}", option.flag)
    if text := os.environ.get(option.environment, ""):
        return Given(text, f"{option.environment}={text} (environment variable)", option.environment)
    if text := config.getini(option.ini):
        place = config.inipath.name if config.inipath else "ini file"
        return Given(text, f"{option.ini} = {text} ({place})", option.ini)
    return None


def _on_command_line(config: pytest.Config, option: Option) -> str | Sequence[str] | None:
    name = option.flag.lstrip("-").replace("-", "_")
    # While conftest files are loaded, `option` holds defaults and the other what pytest could parse so far.
    places = (config.option, config.known_args_namespace)
    return next((value for place in places if (value := getattr(place, name, None)) is not None), None)
