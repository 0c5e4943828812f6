"""Stages 12 and 13 for the tiny model, with their negative controls, on meshes that a process of its own has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ttbringup.options import settings_of

LADDER = Path(__file__).parents[2] / "model_tests"


def run(pytestconfig: pytest.Config, *arguments: str) -> str:
    """What pytest says on the ladder, on an emulated T3000."""
    ours = ("TT_", "TTNN_", "TTBRINGUP_", "LOGURU_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment.pop("PYTEST_ADDOPTS", None)
    options = ["-q", "--tt-target=emulated", "--tt-system=t3000", f"--tt-cache={settings_of(pytestconfig).cache_dir}"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=pytestconfig.rootpath,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def passed(output: str) -> int:
    """How many tests did."""
    found = re.search(r"(\d+) passed", output)
    return int(found[1]) if found else 0


def test_tensor_parallel(pytestconfig: pytest.Config) -> None:
    """Four chips for two KV heads: each is on two of them."""
    chosen = "not teacher_forcing and not then_decode and not (fractured and test_tensor_parallel_model)"
    rungs = [str(LADDER / name) for name in ("test_13_tensor_parallel.py", "test_13_tensor_parallel_prefill.py")]
    output = run(pytestconfig, "--tt-mesh=1x4", *rungs, "-k", chosen)
    assert passed(output) >= 30


def test_data_parallel(pytestconfig: pytest.Config) -> None:
    chosen = "not teacher_forcing and not users_do_not_mix and not test_data_parallel_model"
    output = run(pytestconfig, "--tt-mesh=1x2", str(LADDER / "test_12_data_parallel.py"), "-k", chosen)
    assert passed(output) >= 15


def test_steps_in_tensor_parallel(pytestconfig: pytest.Config) -> None:
    """Of the rungs of one chip, on a mesh: what a step moves, captured draws, users who join and leave."""
    rungs = [str(LADDER / name) for name in ("test_06_full_model.py", "test_11_performance.py")]
    chosen = "moves_nothing or traced_draws or join_and_leave"
    output = run(pytestconfig, "--tt-mesh=1x2", "--tt-parallel=tp", *rungs, "-k", chosen)
    assert passed(output) == 3


def test_faults_between_chips(pytestconfig: pytest.Config) -> None:
    """On two rows of two chips: data x tensor parallel."""
    output = run(pytestconfig, "--tt-mesh=2x2", str(LADDER / "test_negative_controls_parallel.py"))
    assert passed(output) == 14
    assert "skipped" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "parallel", "rungs"),
    [
        ("1x2", "tp", "test_0[2-9]*.py"),
        ("1x2", "tp", "test_1[01]*.py"),
        ("1x2", "dp", "test_12*.py"),
        ("2x2", "dpxtp", "test_13*.py"),
    ],
)
def test_whole_rungs(pytestconfig: pytest.Config, mesh: str, parallel: str, rungs: str) -> None:
    """What the quick tests leave out, too; and the rungs of one chip by a model that is spread."""
    files = [str(path) for path in sorted(LADDER.glob(rungs))]
    output = run(pytestconfig, f"--tt-mesh={mesh}", f"--tt-parallel={parallel}", "-m", "not slow", *files)
    assert passed(output) >= 8


def test_one_chip_is_a_stated_reason(pytestconfig: pytest.Config) -> None:
    folder = str(LADDER / "test_12_data_parallel.py")
    output = run(pytestconfig, "--tt-mesh=1x1", "-rs", folder, "-k", "mlp")
    assert "data parallel wants several chips; for instance --tt-mesh=1x4" in output
