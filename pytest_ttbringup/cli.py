"""The command `ttbringup`.

Exit codes are pytest's, for every subcommand: 0 after success; 1 if the ladder stopped in a choice of a sweep; 4 for
what is refused, be it an argument, an environment variable or an input file, after one line on standard error that
names it, what is allowed and the fix; 2 after Ctrl-C. Reports go to standard output, progress and errors to standard
error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import pytest

from pytest_ttbringup.cache_folder import cache_dir_of_commands
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.generation import command as generate_command
from pytest_ttbringup.option_table import SYSTEM, TARGET
from pytest_ttbringup.planning import command as plan_command
from pytest_ttbringup.planning.roofline import command as roofline_command
from pytest_ttbringup.sweep import command as sweep_command
from pytest_ttbringup.targets import TARGET_NAMES, System, default_system, default_target, silicon, system_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ttbringup` with these arguments (the command line's by default); the exit code.

    Raises:
        SystemExit: for `--help`, and with the exit code of an argument that can't be parsed or of a sweep that measured
            less than it should.
    """
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(options.run(options))
    except BringupError as error:
        sys.stderr.write(f"ttbringup: {error}\n")
        return pytest.ExitCode.USAGE_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("ttbringup: interrupted\n")
        return pytest.ExitCode.INTERRUPTED
    return pytest.ExitCode.OK


class _Parser(argparse.ArgumentParser):
    """Refuses as the commands do: in one line, with their exit code."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and who says what is right."""
        self.exit(pytest.ExitCode.USAGE_ERROR, f"{self.prog}: {message}. What it takes, says `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ttbringup", description="Brings models up on Tenstorrent devices.")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="what is installed and found here",
        description="Says what tests would run on here; with --ops, where the emulated device takes each TT-NN "
        "operation's values from.",
    )
    doctor.add_argument("--ops", action="store_true", help="list every TT-NN operation")
    doctor.add_argument("--format", choices=("text", "md"), default="text", help="of --ops (default: text)")
    doctor.set_defaults(run=lambda options: _operations(options.format) if options.ops else _doctor())
    plan_command.add_to(commands)
    generate_command.add_to(commands)
    roofline_command.add_to(commands)
    sweep_command.add_to(commands)
    return parser


def _doctor() -> str:
    target, reason, system = _target_and_system()
    devices = silicon.devices_present()
    lines = {
        "target": f"{target} ({reason})",
        "system": f"{system.name}: {system.description}",
        **{package: _version(package) for package in ("ttnn", "torch", "transformers")},
        "cache": str(cache_dir_of_commands()),
        "devices": ", ".join(f"{silicon.DEVICE_FOLDER}/{number}" for number in devices) or "none",
    }
    width = max(map(len, lines))
    return "".join(f"{name:{width}}  {text}\n" for name, text in lines.items())


def _operations(form: str) -> str:
    from pytest_ttbringup.emulation import prepare

    if "ttnn" not in sys.modules:
        os.environ.setdefault("LOGURU_LEVEL", "WARNING")  # TT-NN prints its whole configuration at import
        prepare(system=system_of("n150"), cache_dir=cache_dir_of_commands())
    from pytest_ttbringup.emulation import census

    entries = census.census()
    return census.as_markdown(entries, version("ttnn")) if form == "md" else census.as_text(entries)


def _target_and_system() -> tuple[str, str, System]:
    """What the environment says, as for pytest, else what is found.

    Raises:
        BringupError: the environment names a target or system there is not.
    """
    target, reason = default_target()
    named = os.environ.get(TARGET.environment)
    if named:
        if named not in TARGET_NAMES:
            raise BringupError(f"{TARGET.environment}={named}: choose one of {', '.join(TARGET_NAMES)}.")
        target, reason = named, f"chosen by {TARGET.environment}"
    system = os.environ.get(SYSTEM.environment)
    if system:
        return target, reason, system_of(system)
    return target, reason, default_system(target)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
