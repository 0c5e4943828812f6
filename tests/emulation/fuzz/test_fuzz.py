"""No sequence of calls brings the process down, hangs it or gives a wrong value."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ttbringup
from pytest_ttbringup.options import settings_of

FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize(
    ("seed", "seconds"), [(1, 8), pytest.param(2, 120, marks=pytest.mark.slow)], ids=["short", "two minutes"]
)
@pytest.mark.parametrize("chips", [1, 2])
def test_random_calls(pytestconfig: pytest.Config, chips: int, seed: int, seconds: int) -> None:
    run = _fuzz(pytestconfig, seed, seconds, chips=chips)
    assert run.returncode == 0, run.stderr[-3000:]
    words = run.stdout.split("done ")[-1].split()
    steps, refused, checked = map(int, words)
    assert steps > 100 * seconds / 8  # a shared machine may be slow
    assert refused > steps / 20
    assert checked > steps / 50


@pytest.mark.parametrize(("chips", "module"), [(1, "operations"), (2, "exchange")])
def test_a_wrong_value_is_found(pytestconfig: pytest.Config, tmp_path: Path, chips: int, module: str) -> None:
    wrapper = tmp_path / "broken.py"
    wrapper.write_text(
        f"import sys; sys.path.insert(0, {str(FUZZ.parent)!r})\n"
        f"import fuzz, {module}\n"
        f"{module}.wrapped = lambda values: values.clamp(-64, 64) + 1.0\n"
        "fuzz.main(*sys.argv[1:])\n"
    )
    run = _fuzz(pytestconfig, 1, 8, wrapper, chips=chips)
    assert run.returncode != 0
    assert "wrong value" in run.stderr


def _fuzz(
    config: pytest.Config, seed: int, seconds: int, program: Path = FUZZ, *, chips: int = 1
) -> subprocess.CompletedProcess[str]:
    cache = settings_of(config).cache_dir
    environment = os.environ | {"PYTHONPATH": str(Path(pytest_ttbringup.__file__).parents[1])}
    for name in [name for name in environment if name.startswith("TT_METAL_")]:
        del environment[name]  # this process's own device
    return subprocess.run(
        [sys.executable, str(program), str(cache), str(seed), str(seconds), str(chips)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=6 * seconds + 120,
        check=False,
    )
