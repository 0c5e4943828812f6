"""Which interpreter the set-up takes, and what it says if there is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine


def found(machine: Machine, **env: str) -> str:
    result = machine.run("scripts/find_python.sh", **env)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def refused(machine: Machine, **env: str) -> str:
    result = machine.run("scripts/find_python.sh", **env)
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr


@pytest.mark.parametrize("name", ["python3.12", "python3", "python"])
def test_312_under_any_name_on_path(machine: Machine, name: str) -> None:
    python = machine.python(name, "3.12.4")
    assert found(machine) == str(python)


def test_the_versioned_name_comes_first(machine: Machine) -> None:
    machine.python("python3", "3.12.1")
    python = machine.python("python3.12", "3.12.4")
    assert found(machine) == str(python)


def test_path_before_pyenv(machine: Machine) -> None:
    machine.pyenv("3.12.9")
    python = machine.python("python3", "3.12.1")
    assert found(machine) == str(python)


def test_312_anywhere_before_310(machine: Machine) -> None:
    machine.python("python3.10", "3.10.13")
    python = machine.pyenv("3.12.1")
    assert found(machine) == str(python)


def test_310_if_there_is_no_312(machine: Machine) -> None:
    machine.python("python3", "3.11.2")
    python = machine.pyenv("3.10.13")
    assert found(machine) == str(python)


def test_newest_pyenv_patch_release(machine: Machine) -> None:
    machine.pyenv("3.12.9")
    python = machine.pyenv("3.12.11")
    machine.pyenv("3.12.2")
    assert found(machine) == str(python)


def test_pyenv_root_before_the_home_folder(machine: Machine, tmp_path: Path) -> None:
    machine.pyenv("3.12.9")
    python = machine.pyenv("3.12.1", root=tmp_path / "my pyenv")
    assert found(machine, PYENV_ROOT=str(tmp_path / "my pyenv")) == str(python)


def test_a_shim_that_does_not_run_is_passed_over(machine: Machine) -> None:
    machine.program("python3.12", "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    python = machine.pyenv("3.12.1")
    assert found(machine) == str(python)


def test_one_without_ensurepip_is_passed_over(machine: Machine) -> None:
    machine.python("python3.12", "3.12.3", pip="no-ensurepip")
    python = machine.python("python3.10", "3.10.12")
    assert found(machine) == str(python)


def test_python_names_the_one_to_take(machine: Machine, tmp_path: Path) -> None:
    machine.python("python3.12", "3.12.4")
    python = machine.python(tmp_path / "my python/python", "3.10.13")
    assert found(machine, PYTHON=str(python)) == str(python)


def test_python_of_another_version_is_refused(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    python = machine.python("python3.13", "3.13.0")
    message = refused(machine, PYTHON="python3.13")
    assert f"Looked at PYTHON=python3.13:\n  {python}: is CPython 3.13.0\nGet one" in message


def test_python_that_is_no_program_is_refused(machine: Machine) -> None:
    assert "nowhere: is not a program" in refused(machine, PYTHON="nowhere")


def test_none_found_says_where_it_looked_and_how_to_get_one(machine: Machine) -> None:
    debian = machine.python("python3", "3.11.2")
    bare = machine.python("python3.12", "3.12.3", pip="no-ensurepip")
    pypy = machine.python("python", "3.10.14", implementation="PyPy")
    broken = machine.program("python3.10", "#!/bin/sh\nexit 127\n")
    message = refused(machine)
    for line in (
        f"  {debian}: is CPython 3.11.2",
        f"  {bare}: is 3.12, but without venv and ensurepip (Debian, Ubuntu: apt install python3.12-venv)",
        f"  {pypy}: is PyPy 3.10.14",
        f"  {broken}: does not run",
        f"and at pyenv's versions in {machine.home}/.pyenv:",
        "  pyenv install 3.12",
        "or name one:  make ... PYTHON=/path/to/python3.12",
    ):
        assert message.splitlines().count(line) == 1, message
    assert str(machine.bin) in message.splitlines()[2]
    for way in ("uv python install 3.12", "apt install python3.12 python3.12-venv"):
        assert message.count(way) == 1


def test_a_real_python_answers_the_probe(machine: Machine) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    result = machine.run("scripts/find_python.sh", PYTHON=sys.executable)
    if version in ("3.10", "3.12"):
        assert result.stdout.strip() == sys.executable
    else:
        assert f"is CPython {version}" in result.stderr
