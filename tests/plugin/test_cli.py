"""`ttbringup`: what all its commands have in common, and `doctor`."""

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
    assert main(["doctor"]) == 4
    assert "TTBRINGUP_TARGET=emulator: choose one of emulated, silicon, simulator" in capsys.readouterr().err


def test_doctor_needs_nothing_heavy() -> None:
    code = (
        "import sys; from pytest_ttbringup.cli import main; main(['doctor']); print({'torch', 'ttnn'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ttbringup: the following arguments are required: command"),
        (["climb"], "ttbringup: argument command: invalid choice: 'climb' (choose from 'doctor', 'plan'"),
        (["plan"], "ttbringup plan: the following arguments are required: MODEL"),
        (["plan", "tiny-llama", "--batch=x"], "ttbringup plan: argument --batch: invalid int value: 'x'"),
        (["roofline", "--tt-model=tiny-llama", "--residual=x"], "ttbringup roofline: argument --residual: invalid"),
        (["sweep", "--fast"], "ttbringup: unrecognized arguments: --fast"),
        (["generate", "--top-p=x"], "ttbringup generate: argument --top-p: invalid float value: 'x'"),
    ],
)
def test_arguments_that_cannot_be_parsed(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    error = capsys.readouterr().err
    assert end.value.code == 4
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_ttbringup.planning.command.run", interrupted)
    assert main(["plan", "tiny-llama"]) == 2
    assert capsys.readouterr().err == "ttbringup: interrupted\n"
