"""`pytest --help` shows every setting and imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_ttbringup.option_table import OPTIONS

from .conftest import PLUGIN, Run

HEAVY = {"torch", "ttnn", "transformers", "numpy"}


def test_every_option_variable_and_ini_setting_shows(run: Run) -> None:
    text = " ".join(run("--help").stdout.str().split())
    for option in OPTIONS:
        assert f"{option.flag}={option.metavar}" in text
        assert f"[environment: {option.environment}, ini: {option.ini}]" in text
        assert f"{option.ini} (string):" in text


def test_help_works_when_the_target_does_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTBRINGUP_TARGET", "simulator")
    assert run("--help").ret == 0
    result = run("--markers")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["@pytest.mark.stage(name_or_number)*"])


def test_fixtures_are_documented(run: Run) -> None:
    text = run("--fixtures").stdout.str()
    for name in (
        "device",
        "mesh_device",
        "device_params",
        "reset_seeds",
        "model",
        "reference",
        "compare",
        "teacher_forcing",
    ):
        assert f"\n{name} -- " in text


@pytest.mark.parametrize("arguments", [["--help"], ["--collect-only", "-q"]])
def test_nothing_heavy_is_imported(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    pytester.makepyfile("def test_one(model, layer, compare): pass")
    script = f"""
import sys, pytest
pytest.main({["-p", PLUGIN, *arguments]!r})
print("HEAVY:", sorted({HEAVY!r} & set(sys.modules)))
"""
    # Without other plugins, so that what is imported is this one's doing.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "HEAVY: []" in done.stdout
