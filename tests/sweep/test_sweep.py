"""`ttbringup sweep` from end to end, and what it refuses before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_ttbringup.cli import main
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.sweep.choices import Choice, choices_of
from pytest_ttbringup.sweep.ladder_run import measure
from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.sweep.speed import Speed
from pytest_ttbringup.targets import System

ROOT = Path(__file__).resolve().parents[2]
LADDER = ROOT / "model_tests"

RUNGS = """
import os
import pytest
import torch
from pytest_ttbringup.options import settings_of

EXACT = torch.linspace(-1, 1, 1024).reshape(32, 32)
NOISE = {"accuracy": 0.0, "default": 0.001, "performance": 0.1}

@pytest.fixture
def noisy(pytestconfig):
    precision = settings_of(pytestconfig).precision
    if precision.endswith("crash.toml"):
        os._exit(11)
    return EXACT + NOISE[precision] * torch.randn(EXACT.shape, generator=torch.Generator().manual_seed(0))

@pytest.mark.stage(2)
@pytest.mark.parametrize("layer", ["first", "last"])
def test_decode_mlp(noisy, compare, layer):
    compare(EXACT, noisy if layer == "last" else EXACT)

@pytest.mark.stage(7)
def test_teacher_forcing(noisy, teacher_forcing):
    teacher_forcing(5 * noisy, 5 * EXACT, EXACT.argmax(-1))

@pytest.mark.stage(3)
def test_decode_layer():
    raise SystemExit("no rung of a sweep")
"""


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    """A ladder without a device, whose modules lose more the faster the preset is."""
    (tmp_path / "ladder").mkdir()
    (tmp_path / "ladder" / "test_rungs.py").write_text(RUNGS)
    return tmp_path / "ladder"


@pytest.fixture
def arguments(cache: str) -> list[str]:
    return ["-c", str(ROOT / "pyproject.toml"), "--tt-target=emulated", cache]


@pytest.fixture
def cache(pytestconfig: pytest.Config) -> str:
    """The outer run's, whose kernels are built."""
    return f"--tt-cache={settings_of(pytestconfig).cache_dir.absolute()}"


def test_what_is_measured_of_a_choice(ladder: Path, arguments: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    found = measure(Choice("performance", "performance"), ladder, arguments, tmp_path, said.append)
    assert (found.tests, found.red) == (3, 2)
    assert 0.98 < found.modules["decode_mlp"] < 0.999
    assert found.kl is not None
    assert found.kl > 0.05
    assert found.top1 is not None
    mlp, forcing = found.failures
    assert mlp.startswith("decode_mlp (1 of 2 cases, worst last): PCC 0.98")
    assert mlp.endswith(" < 0.999")
    assert forcing.startswith("teacher_forcing: top-1 ")
    assert "KL 0." in forcing
    green = measure(Choice("accuracy", "accuracy"), ladder, arguments, tmp_path, said.append)
    assert (green.tests, green.red, green.failures, green.kl) == (3, 0, (), 0.0)


@pytest.mark.parametrize(
    ("precision", "said"),
    [("crash.toml", "exit code 11"), ("none.toml", "exit code 4: ERROR: --tt-precision=.*can't read this file")],
)
def test_a_run_that_stops_is_a_result(
    ladder: Path, arguments: list[str], tmp_path: Path, precision: str, said: str
) -> None:
    (tmp_path / "crash.toml").touch()
    found = measure(Choice("mine", str(tmp_path / precision)), ladder, arguments, tmp_path, lambda _: None)
    assert (found.tests, found.kl) == (0, None)
    [reason] = found.failures
    assert re.search(said, reason)


def test_default_choices() -> None:
    names = [it.name for it in choices_of([], LADDER)]
    assert names[:3] == ["accuracy", "default", "performance"]
    assert set(names[3:]) == {path.stem for path in (LADDER / "precisions").glob("*.toml")}


def test_tiny_llama_in_two_precisions(
    tmp_path: Path, cache: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ladder, on one layer; a file's overrides are measured, and every choice is kept as a file."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.toml").write_text('[[layers]]\nlayers = [0]\ngate_up_weight = "bfloat4_b"\n')
    out = tmp_path / "out"
    arguments = ["--tt-target=emulated", "--tt-numerics=exact", "--tt-layers=0", cache]
    assert main(["sweep", *arguments, "--choices", f"default,{tmp_path / 'mine.toml'}", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "precision sweep of tiny-llama on emulated (n150)" in said.out
    assert "numerics exact" in said.out
    assert "mine (2 of 2): starts" in said.err
    page = json.loads((out / "sweep.json").read_text())
    default, mine = page["choices"]
    assert (default["red"], default["pareto"]) == (0, "front")
    assert default["modules"]["decode_mlp"] > 0.999 > mine["modules"]["decode_mlp"] > 0.98
    assert default["modules"]["decode_attention"] == mine["modules"]["decode_attention"]
    assert default["kl"] < mine["kl"]
    assert default["megabytes_per_step"] > mine["megabytes_per_step"]
    assert any("decode_mlp: PCC 0.98" in it for it in mine["problems"])
    assert {path.name for path in out.iterdir()} >= {
        *("sweep.md", "sweep.csv", "sweep.svg"),
        *(f"{name}.{kind}" for name in ("default", "mine") for kind in ("toml", "log", "xml")),
    }
    ET.parse(out / "sweep.svg")
    assert 'gate_up_weight = "bfloat4_b"' in (out / "mine.toml").read_text()


WRONG = {
    "--choices=perf": "--choices=perf: no such precision. Did you mean 'performance'? Give accuracy, default",
    "--choices=none.toml": "--choices=none.toml: there is no such file",
    "--choices=": "--choices=: no such precision",
    "--choices=bad.toml": "bad.toml: line 2: Invalid value in `kv_cache = bfloat16`",
    "--choices=far.toml": "far.toml: line 2: layer 9 of tiny-llama: it has 4 layers, 0 to 3",
    "--choices=far.toml,folder/far.toml": "would both be called 'far'",
    "--context=1000": "--context=1000: tiny-llama has 512 positions",
    "--context=0": "--context=0: tiny-llama has 512 positions",
    "--tests=none": "--tests=none: there is no such folder",
    "--tt-model=tiny-lama": "Did you mean 'tiny-llama'",
    "--tt-system=n151": "Did you mean 'n150'",
    "--tt-system=galaxy": "no published figures",
    "--tt-target=emulator": "--tt-target=emulator: no such target. Did you mean 'simulator'? Choose one of",
    "--tt-model=tiny-llama,smollm2-135m": "--tt-model=tiny-llama,smollm2-135m: a sweep is of one model; name one",
    "--tt-mesh=9x9": "--tt-mesh=9x9: needs 81 chips, but system n150 has 1 chip",
    "--tt-numerics=rough": "--tt-numerics=rough: no such arithmetic",
    "--tt-layers=4": "--tt-layers=4: tiny-llama has 4 layers, 0 to 3",
    "--pcc-threshold=2": "--pcc-threshold=2: a PCC threshold is a number above 0 and at most 1",
    "--out=bad.toml": "--out=bad.toml: can't write to this folder",
}


@pytest.mark.parametrize("argument", WRONG)
def test_bad_input_is_refused_before_anything_runs(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_ttbringup.sweep.command.measure", lambda *_: pytest.fail("it ran"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.toml").write_text('preset = "default"\nkv_cache = bfloat16\n')
    for folder in (tmp_path, tmp_path / "folder"):
        (folder / "far.toml").write_text("[[layers]]\nlayers = [9]\n")
    given = ["sweep", f"--tests={LADDER}", "--tt-target=emulated", argument]
    assert main(given) == 4
    error = capsys.readouterr().err
    assert WRONG[argument] in error
    assert error.count("\n") == 1


def test_the_environment_is_heeded_and_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pytest_ttbringup.sweep.command.measure", lambda *_: pytest.fail("it ran"))
    monkeypatch.setenv("TTBRINGUP_SYSTEM", "n151")
    assert main(["sweep", f"--tests={LADDER}", "--tt-target=emulated"]) == 4
    assert capsys.readouterr().err.startswith("ttbringup: TTBRINGUP_SYSTEM=n151 (environment variable): ")


def test_the_report_names_the_system_of_the_environment(
    ladder: Path, cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bound is that system's, and every run has it, too."""
    asked: list[list[str]] = []
    systems: list[str] = []

    def measured(choice: Choice, _: Path, arguments: list[str], *__: object) -> Measurement:
        asked.append(arguments)
        return Measurement(choice.name, choice.precision, tests=1)

    def bound(_: Choice, __: str, system: System, *___: object) -> Speed:
        systems.append(system.name)
        return Speed(problem="not computed")

    monkeypatch.setattr("pytest_ttbringup.sweep.command.measure", measured)
    monkeypatch.setattr("pytest_ttbringup.sweep.command.decode_bound", bound)
    monkeypatch.setenv("TTBRINGUP_SYSTEM", "p150")
    assert main(["sweep", f"--tests={ladder}", "--choices=default", "--tt-target=emulated", cache]) == 0
    assert "precision sweep of tiny-llama on emulated (p150)" in capsys.readouterr().out
    assert systems == ["p150"]
    assert asked == [["--tt-target=emulated", cache]]


def test_a_choice_that_stopped_is_told_by_the_exit_code(
    ladder: Path, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crash.toml").touch()
    monkeypatch.setattr("pytest_ttbringup.sweep.command.decode_bound", lambda *_: Speed(problem="not computed"))
    monkeypatch.setattr("pytest_ttbringup.sweep.command.check_files", lambda *_: None)  # this ladder has no models
    arguments = ["sweep", f"--tests={ladder}", "--tt-target=emulated", cache, f"--choices={tmp_path / 'crash.toml'}"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    said = capsys.readouterr()
    assert "crash: pytest ended with exit code 11" in said.out
    assert said.err.endswith("ttbringup: the ladder stopped in crash, so nothing was measured of it.\n")


def test_an_interrupted_run_leaves_nothing_half_written(
    ladder: Path, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first choice stands whole in the folder, with its log; the second, in which Ctrl-C came, is not there."""

    def run(choice: Choice, _: Path, __: object, folder: Path, ___: object) -> Measurement:
        (folder / f"{choice.name}.log").write_text("whole" if choice.name == "default" else "ha")
        if choice.name != "default":
            raise KeyboardInterrupt
        return Measurement(choice.name, choice.precision)

    monkeypatch.setattr("pytest_ttbringup.sweep.command.measure", run)
    monkeypatch.setattr("pytest_ttbringup.sweep.command.decode_bound", lambda *_: Speed(problem="not computed"))
    arguments = [f"--tests={ladder}", "--tt-target=emulated", cache, f"--out={tmp_path / 'out'}"]
    assert main(["sweep", *arguments, "--choices=default,accuracy"]) == 2
    assert capsys.readouterr().err.endswith("ttbringup: interrupted\n")
    left = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert sorted(left) == ["default.log", "sweep.csv", "sweep.json", "sweep.md", "sweep.svg"]
    assert left["default.log"].read_text() == "whole"
    assert [it["name"] for it in json.loads(left["sweep.json"].read_text())["choices"]] == ["default"]
