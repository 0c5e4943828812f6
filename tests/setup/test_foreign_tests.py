"""scripts/foreign_tests.py: the sample is the seed's, an outcome counts as what it is, the page gets the table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

FOREIGN = """
import time
import pytest
import ttnn

def test_passes(device):
    assert isinstance(device, ttnn.MeshDevice)

@pytest.mark.parametrize("number", range(20))
def test_many(number):
    assert number >= 0

def test_fails():
    assert 1 == 2, "one is not two"

def test_skips():
    pytest.skip("not here")

@pytest.mark.xfail
def test_is_known_to_fail():
    assert False

def test_takes_long():
    time.sleep(30)

def test_needs_files():
    import no_such_module_anywhere
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module, with those beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import foreign_tests

    yield foreign_tests
    for name in ("foreign_tests", "_foreign_outcomes"):
        sys.modules.pop(name, None)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Something in the shape of tt-metal's repository."""
    for folder in ("unit_tests/operations/eltwise", "unit_tests/operations/debug", "unit_tests/tensor", "distributed"):
        made = tmp_path / "tt-metal" / "tests" / "ttnn" / folder
        made.mkdir(parents=True)
        for number in range(30):
            (made / f"test_{number}.py").touch()
    return tmp_path / "tt-metal"


def test_the_seed_chooses(script: ModuleType, checkout: Path) -> None:
    chosen = script.choose(checkout, 32, 1, frozenset())
    assert chosen == script.choose(checkout, 32, 1, frozenset())
    assert chosen != script.choose(checkout, 32, 2, frozenset())
    folders = [path.removeprefix("tests/ttnn/").rpartition("/")[0] for path in chosen]
    assert {folder: folders.count(folder) for folder in folders} == {
        "distributed": 2,
        "unit_tests/operations/eltwise": 3,
        "unit_tests/tensor": 3,
    }
    again = script.choose(checkout, 32, 1, frozenset(chosen))
    assert not set(chosen) & set(again)


@pytest.mark.parametrize(
    ("outcome", "text", "kind"),
    [
        ("passed", "", "passed"),
        ("failed", "AssertionError: 0.98 < 0.99", "ours"),
        ("failed", "EmulationError: ttnn.foo has no values on the emulated device", "ours"),
        ("failed", "fixture 'bar' not found", "ours"),
        ("failed", "RuntimeError: TT_FATAL: the other shape", "another version of TT-NN"),
        ("failed", "ttnn.x: TT-NN's golden function fails (TT_FATAL: ModuleNotFoundError)", "ours"),
        ("failed", "'ttnn.Tensor' object has no attribute 'foo'", "ours"),
        ("failed", "AttributeError: module 'ttnn' has no attribute 'foo'", "another version of TT-NN"),
        ("failed", "TimeoutError: more than 30 s for the test", "time"),
        ("ended", "more than 180 s for the file", "time"),
        ("ended", "the process ended with -11", "ours"),
    ],
)
@pytest.mark.usefixtures("script")
def test_kinds(outcome: str, text: str, kind: str) -> None:
    from _foreign_outcomes import kind_of

    assert kind_of(outcome, text) == kind


def test_a_run(tmp_path: Path) -> None:
    name = "tests/ttnn/unit_tests/operations/eltwise/test_foreign.py"
    (tmp_path / "tt-metal" / name).parent.mkdir(parents=True)
    (tmp_path / "tt-metal" / name).write_text(FOREIGN)
    (tmp_path / "tt-metal" / "conftest.py").write_text("import a_laboratory")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- hold-out -->\nstale\n<!-- end of hold-out -->\nafter\n")
    command = [sys.executable, str(ROOT / "scripts" / "foreign_tests.py"), str(tmp_path / "tt-metal"), f"--only={name}"]
    command += [f"--results={tmp_path / 'results'}", f"--page={page}", "--items=3", "--item-seconds=1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for _ in range(2):  # the second run finds the results of the first
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert "5 of 9 passed, 1 ours, 1 skipped, 1 support files, 1 time" in done.stdout
    text = page.read_text()
    assert text.startswith("before\n<!-- hold-out -->\n\n| file |")
    assert text.endswith("\n<!-- end of hold-out -->\nafter\n")
    assert "stale" not in text
    assert "| `ttnn/unit_tests/operations/eltwise/test_foreign.py` | n150 | 8 | 5 | 1 | 2 | 1 |" in text
    assert "83.3 % of those that hit no stated limit passed (5 of 6)." in text
    assert "| `eltwise/test_foreign.py::test_fails` | 1 | ours | `AssertionError: one is not two" in text


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "foreign_tests.py"), str(tmp_path), "--results=unused"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no tests/ttnn: give the root of a checkout" in done.stderr
