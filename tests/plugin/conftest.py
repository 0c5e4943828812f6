"""Running pytest with the plugin on small test files, apart from the process and settings of these tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pytest_ttbringup

PLUGIN = "pytest_ttbringup.plugin"
INSTALLED = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
LOADING = () if INSTALLED else ("-p", PLUGIN)
"""How the pytest of a test gets the plugin: by its entry point, or by name in a checkout that is not installed."""

Run = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated target, also where there is a device; none of the outer run's settings and variables."""
    for name in list(os.environ):
        if name.startswith(("TT_", "TTNN_", "TTBRINGUP_", "PYTEST_XDIST_", "LOGURU_")) or name == "PYTEST_ADDOPTS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TTBRINGUP_TARGET", "emulated")
    monkeypatch.delitem(sys.modules, "ttnn", raising=False)  # imported by other tests, but not by those here
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest_ttbringup.__file__).parents[1]), prepend=os.pathsep)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs, so that kernels are built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(pytester: pytest.Pytester, cache_dir: Path) -> Run:
    """Run pytest in a process of its own; warnings are errors there, too."""

    def run_pytest(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*LOADING, "-W", "error", f"--tt-cache={cache_dir}", *arguments)

    return run_pytest


@pytest.fixture
def no_device(pytester: pytest.Pytester) -> tuple[str, str]:
    """Arguments that hide this machine's devices, if it has any, from the pytest that gets them."""
    pytester.makepyfile(
        hide_devices="""
        from pathlib import Path
        from pytest_ttbringup.targets import silicon
        silicon.DEVICE_FOLDER = Path("no", "tenstorrent")
        """
    )
    return "-p", "hide_devices"
