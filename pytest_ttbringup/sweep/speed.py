"""How fast a choice can be at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pytest_ttbringup.option_table import CACHE, MODEL, PRECISION, SYSTEM
from pytest_ttbringup.planning.roofline.work import FULL_STEP
from pytest_ttbringup.sweep.choices import Choice
from pytest_ttbringup.targets.systems import System


class Speed(NamedTuple):
    """Of a decode step of 32 users on one chip, at best.

    Attributes:
        seconds: that its operations take one after another; None if it could not be recorded.
        megabytes: 10**6 bytes of DRAM that they move; None as above.
        problem: why there is none.
    """

    seconds: float | None = None
    megabytes: float | None = None
    problem: str = ""


def decode_bound(choice: Choice, model: str, system: System, context: int, cache: Path) -> Speed:
    """The bound of `ttbringup roofline`, which records the operations in a process of its own.

    Args:
        choice: the precision.
        model: as `--tt-model` takes it.
        system: of whose chips one is meant.
        context: positions that each user has, the one computed included.
        cache: the folder for compiled kernels.
    """
    command = [
        *(sys.executable, "-c", "import sys; from pytest_ttbringup.cli import main; sys.exit(main())", "roofline"),
        *(f"{MODEL.flag}={model}", f"{SYSTEM.flag}={system.name}", f"{PRECISION.flag}={choice.precision}"),
        *("--chips=1", f"--users={FULL_STEP.users}", f"--position={context - 1}", "--prefill=32", "--format=json"),
    ]
    environment = {**os.environ, CACHE.environment: str(cache)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["it said nothing"]
        return Speed(problem=f"ttbringup roofline: {said[-1].removeprefix('ttbringup: ')}")
    decode = json.loads(ended.stdout[ended.stdout.index("{") :])["decode"]
    return Speed(decode["seconds"], sum(it["dram_bytes"] for it in decode["operations"]) / 1e6)
