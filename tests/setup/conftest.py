"""A machine to set up on: a copy of the project's set-up files, and a PATH with tools and stand-in Pythons only."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# fmt: off
TOOLS = [
    "awk", "bash", "cat", "chmod", "cp", "cut", "dirname", "env", "flock", "getconf", "grep", "head", "ls", "make",
    "mkdir", "mv", "paste", "rm", "sed", "sh", "sha256sum", "sleep", "sort", "tail", "touch", "tr", "uname",
]
# fmt: on

# Answers find_python.sh's probe, "makes" an environment that holds a copy of itself, and logs what pip is asked for.
PYTHON = """\
#!/bin/sh
case "$1 $2" in
"-c ") exit 0 ;;
"-c"*) echo "{implementation} {minor} {version} {pip} $0" ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "venv {version} $3" >>"$LOG" ;;
"-m pip") shift 2; echo "pip $*" >>"$LOG"; eval "${{PIP_DOES:-}}" ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """`project` is the copied checkout, `bin` the first folder of PATH, `log` what the stand-ins were asked to do."""

    project: Path
    bin: Path
    home: Path
    log: Path
    env: dict[str, str]

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the project with nothing but this machine's environment and `env`."""
        return subprocess.run(
            [self.project / command[0], *command[1:]],
            cwd=self.home,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def program(self, path: Path | str, text: str) -> Path:
        """Writes an executable script; a bare name goes into `bin`."""
        file = self.bin / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # it may be a link to the machine's own tool
        file.write_text(text)
        file.chmod(0o755)
        return file

    def python(
        self, path: Path | str, version: str, *, implementation: str = "CPython", pip: str = "ensurepip"
    ) -> Path:
        """Puts a stand-in for a Python of that version at `path`."""
        minor = ".".join(version.split(".")[:2])
        return self.program(path, PYTHON.format(implementation=implementation, minor=minor, version=version, pip=pip))

    def pyenv(self, version: str, root: Path | None = None) -> Path:
        """Puts a stand-in into pyenv's folder of versions."""
        minor = ".".join(version.split(".")[:2])
        return self.python((root or self.home / ".pyenv") / f"versions/{version}/bin/python{minor}", version)

    def logged(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any Python."""
    project, tools, home = tmp_path / "check out", tmp_path / "tools", tmp_path / "home"
    for folder in (project, tools, home, tmp_path / "bin"):
        folder.mkdir()
    for name in ("scripts", ".ci"):
        shutil.copytree(ROOT / name, project / name)
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, project)
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"{name} is needed to test the set-up"
        (tools / name).symlink_to(found)
    log = tmp_path / "log"
    env = {"PATH": os.pathsep.join([str(tmp_path / "bin"), str(tools)]), "HOME": str(home), "LOG": str(log)}
    return Machine(project, tmp_path / "bin", home, log, env)
