"""`ttbringup doctor`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_ttbringup.cli import main


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTBRINGUP_TARGET", "emulated")
    monkeypatch.setenv("TTBRINGUP_SYSTEM", "p150")
    monkeypatch.setenv("TTBRINGUP_CACHE", "/somewhere/else")
    assert main(["doctor"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(said) == ["target", "system", "ttnn", "torch", "transformers", "cache", "devices"]
    assert said["target"] == "emulated (chosen by TTBRINGUP_TARGET)"
    assert said["system"].startswith("p150:")
    assert said["cache"] == "/somewhere/else"


def test_doctor_refuses_a_target_there_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTBRINGUP_TARGET", "emulator")
    assert main(["doctor"]) == 1
    assert "TTBRINGUP_TARGET=emulator: choose one of emulated, silicon, simulator" in capsys.readouterr().err


def test_doctor_needs_nothing_heavy() -> None:
    code = (
        "import sys; from pytest_ttbringup.cli import main; main(['doctor']); print({'torch', 'ttnn'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"
