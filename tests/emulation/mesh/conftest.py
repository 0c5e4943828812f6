"""Tests on systems of several chips: a process has one cluster, so each system gets a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pytest_ttbringup
from pytest_ttbringup.options import settings_of

PLUGIN = "pytest_ttbringup.plugin"
LOADING = () if any(point.value == PLUGIN for point in entry_points(group="pytest11")) else ("-p", PLUGIN)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_pytest(pytestconfig: pytest.Config) -> Run:
    """Run pytest on the emulated target with these arguments."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", *LOADING, "-q", "--tt-target=emulated"]
        cache = f"--tt-cache={settings_of(pytestconfig).cache_dir}"
        return subprocess.run(
            [*command, cache, *map(str, arguments)],
            cwd=cwd or pytestconfig.rootpath,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def _environment() -> dict[str, str]:
    """This process's environment without what its own target and settings left there."""
    ours = ("TT_", "TTNN_", "TTBRINGUP_", "LOGURU_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment.pop("PYTEST_ADDOPTS", None)
    root = str(Path(pytest_ttbringup.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    return environment
