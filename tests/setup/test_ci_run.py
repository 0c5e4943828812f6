""".ci/run: the environment it shares between checkouts, and that it runs the same commands as a person does."""

from __future__ import annotations

import fcntl
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine


@pytest.fixture
def venvs(machine: Machine) -> Path:
    """A machine on which .ci/run works, with a make that only logs its arguments; the folder of environments."""
    machine.python("python3.12", "3.12.4")
    machine.program("make", '#!/bin/sh\necho "make $* in $TTBRINGUP_VENV" >>"$LOG"\nexit "${MAKE_STATUS:-0}"\n')
    return machine.home / ".cache/pytest-ttbringup/ci"


def ci(machine: Machine, status: int = 0, **env: str) -> list[str]:
    """Runs .ci/run from another folder and returns what it did that it had not done before."""
    before = len(machine.logged())
    result = machine.run(".ci/run", MAKE_STATUS=str(status), CI="true", **env)
    assert (result.returncode != 0) == (status != 0), result.stderr
    return machine.logged()[before:]


def environments(venvs: Path) -> set[str]:
    return {path.name for path in venvs.iterdir() if path.is_dir()}


def change_pins(machine: Machine) -> str:
    """Makes the next run need another environment, and returns its name."""
    with (machine.project / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    return machine.run("scripts/setup.sh", "--key").stdout.strip()


def test_builds_the_environment_once_and_runs_make_with_the_tests_last(machine: Machine, venvs: Path) -> None:
    key = machine.run("scripts/setup.sh", "--key").stdout.strip()
    assert re.fullmatch("[0-9a-f]{16}", key)
    make = f"make --keep-going --no-print-directory lint type test in {venvs / key}"
    first = ci(machine)
    assert first[0] == f"venv 3.12.4 {venvs / key}"
    assert first[-1] == make
    assert ci(machine) == [make]


@pytest.mark.usefixtures("venvs")
def test_fails_if_make_fails(machine: Machine) -> None:
    assert ci(machine, status=2)


def test_cache_folder_of_the_user(machine: Machine, venvs: Path, tmp_path: Path) -> None:
    ci(machine, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert environments(tmp_path / "cache/pytest-ttbringup/ci")
    assert not venvs.exists()


def test_keeps_this_environment_and_the_last_one_besides(machine: Machine, venvs: Path) -> None:
    ci(machine)
    second = change_pins(machine)
    ci(machine)
    assert len(environments(venvs)) == 2
    third = change_pins(machine)
    ci(machine)
    assert environments(venvs) == {second, third}


def test_an_environment_in_use_is_not_deleted(machine: Machine, venvs: Path) -> None:
    ci(machine)
    (first,) = environments(venvs)
    with (venvs / f"{first}.use").open("a") as use:
        fcntl.flock(use, fcntl.LOCK_SH)  # as a run that lasts does
        for _ in range(2):
            change_pins(machine)
            ci(machine)
    assert len(environments(venvs)) == 3
    assert first in environments(venvs)
