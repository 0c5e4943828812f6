"""`ttbringup roofline`, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ttbringup.cli import main
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.formats import as_json, as_markdown, as_text
from pytest_ttbringup.planning.roofline.operations import Operand, Operation
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.profile import Profiled, compare
from pytest_ttbringup.planning.roofline.report import Roofline
from pytest_ttbringup.planning.roofline.what_if import alternatives
from pytest_ttbringup.planning.roofline.work import Step
from pytest_ttbringup.targets import system_of

PROFILE = Path(__file__).parent / "data" / "ops_perf_results.csv"
MATMUL = "Matmul [32, 576] bfloat16 x [576, 1536] bfloat8_b HiFi2"


def roofline(*, chips: int = 1, measured: bool = False) -> Roofline:
    x = Operand((1, 1, 32, 576), "bfloat16", in_dram=False)
    operations = [
        Operation("MatmulDeviceOperation", (x, Operand((1, 1, 576, 1536), "bfloat8_b")), (x,), fidelity="HiFi2"),
        *(Operation(f"{name}DeviceOperation", (Operand((1, 1, 32, 32), "bfloat16"),), ()) for name in "ABCDEFGHIJK"),
    ]
    peaks, step = peaks_of(system_of("n150" if chips == 1 else "n300")), Step(32, 7)
    bound = Bound.of(operations, peaks, step)
    found = alternatives(operations, peaks, step)
    comparison = ("decode", compare(bound, [Profiled("Matmul", 1e-6, 2)])) if measured else None
    system = "n150" if chips == 1 else "n300"
    return Roofline("a-model", system, "default", chips, 1, peaks, step, 128, bound, bound, found, found, comparison)


def test_the_command_records_and_reports(pytestconfig: pytest.Config) -> None:
    environment = {**os.environ, "TTBRINGUP_CACHE": str(settings_of(pytestconfig).cache_dir)}
    code = "from pytest_ttbringup.cli import main; raise SystemExit(main())"
    arguments = ["roofline", "--tt-model=tiny-llama", "--tt-precision=performance", "--prefill=40", "--format=json"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments, f"--profile={PROFILE}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    page = json.loads(result.stdout)
    assert (page["model"], page["system"], page["precision"], page["chips"]) == ("tiny-llama", "n150", "performance", 1)
    by_name = {it["operation"]: it for it in page["decode"]["operations"]}
    gate_and_up = by_name["Matmul [32, 128] bfloat16 x [128, 256] bfloat4_b LoFi"]
    # tiny-llama has 4 layers, hidden 128 and 256 columns of the MLP, which each layer has 2 of; QKV is as wide
    assert (gate_and_up["count"], gate_and_up["dram_bytes"]) == (8, 8 * 4 * 8 * 576)
    attention = by_name["SdpaDecode [32, 4, 32] bfloat16 x [32, 2, 256, 32] bfloat8_b HiFi4"]
    assert attention["dram_bytes"] == 4 * 2 * 32 * 2 * 5 * 1088
    assert page["decode"]["seconds"] == pytest.approx(sum(it["seconds"] for it in page["decode"]["operations"]))
    assert page["decode"]["tokens_per_second"] == pytest.approx(32 / page["decode"]["seconds"])
    assert page["prefill"]["tokens"] == 40
    # The profile's four operations stand in this order in a layer: the norm, gate and up, and their product.
    measured = [it["operation"].split()[0] for it in page["decode"]["measured"]]
    assert measured == ["LayerNorm", "Matmul", "Matmul", "BinaryNg"]
    assert "a decode step issues" in result.stderr


def test_the_page_in_text() -> None:
    lines = as_text(roofline()).splitlines()
    assert lines[0] == "a-model on n150, precision default"
    assert "without weights" in lines[2]
    assert "295 / 147 / 74 TFLOPS" in lines[3]
    assert "Decode step, 32 users at position 7" in lines
    row = next(line for line in lines if line.startswith(MATMUL))
    assert row.split()[-5:] == ["0.94", "0.06", "DRAM", "3.3", "97.7%"]
    assert next(line for line in lines if line.startswith("all others")).split()[:3] == ["all", "others", "2"]
    assert "at least 3.3 us a step, so at most" in "\n".join(lines)
    assert "Measured beside bound, decode" not in lines


def test_the_page_of_several_chips() -> None:
    page = as_text(roofline(chips=2))
    assert "a-model on 2 chips of n300 in tensor parallel" in page
    assert "25 GB/s Ethernet" in page


def test_the_page_with_a_profile() -> None:
    page = as_text(roofline(measured=True))
    assert "Measured beside bound, decode" in page
    assert "1 below the bound: check" in page


def test_the_page_in_markdown() -> None:
    lines = as_markdown(roofline(measured=True)).splitlines()
    assert lines[0] == "### a-model on n150, precision default"
    assert f"| {MATMUL} | 1 | 0.94 | 0.06 | DRAM | 3.3 | 97.7% |" in lines
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {8, 6, 7}


def test_the_page_in_json() -> None:
    page = json.loads(as_json(roofline(measured=True)))
    assert page["decode"]["operations"][0]["dram_bytes"] == 18 * 48 * 1088
    assert page["decode"]["what_if"][0]["bfloat4_b"] < page["decode"]["seconds"]
    assert page["decode"]["what_if"][0]["LoFi"] == page["decode"]["seconds"]
    assert page["figures"].startswith("Bounds from the operations TT-NN issued")
    assert page["decode"]["measured"] == [
        {
            "operation": MATMUL,
            "seconds": 1e-6,
            "bound": page["decode"]["operations"][0]["seconds"],
            "below_the_bound": True,
        }
    ]
    assert page["decode"]["not_in_profile"] == 11


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--users=33"], "--users=33: a step has 1 to 32 users"),
        (["--users=0"], "--users=0: a step has 1 to 32 users"),
        (["--position=-1"], "--position=-1: the first token is at position 0"),
        (["--prefill=0"], "--prefill=0: a prompt has at least 1 token"),
        (["--tt-system=galaxy"], "--tt-system=galaxy: no published figures"),
        (["--tt-system=n151"], "no system is called 'n151'. Did you mean 'n150'?"),
        (["--chips=2"], "--chips=2: n150 has 1. Ask for 1 to 1."),
        (["--profile=none.csv"], "--profile=none.csv can't be read: No such file or directory."),
        (["--tt-model=llama-3.1-9b"], "no model is called 'llama-3.1-9b'. Did you mean 'llama-3.1-8b'?"),
    ],
)
def test_bad_arguments_are_one_error_each(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["roofline", "--tt-model=llama-3.1-8b", *arguments]) == 4
    error = capsys.readouterr().err
    assert error.startswith(f"ttbringup: {said}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tt-model=falcon-40b"], "model_type = 'falcon' is not an architecture built here; those are: llama."),
        (["--tt-model=tiny-llama", "--position=512"], "tiny-llama has 512 positions; a token at position 512 and"),
    ],
)
def test_a_model_that_cannot_be_recorded_is_refused_before_a_mesh_is_opened(
    pytestconfig: pytest.Config, arguments: list[str], said: str
) -> None:
    code = """
from pytest_ttbringup.cli import main
from pytest_ttbringup.targets.emulated import EmulatedTarget
EmulatedTarget.open_mesh = None
raise SystemExit(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", code, "roofline", *arguments],
        env={**os.environ, "TTBRINGUP_CACHE": str(settings_of(pytestconfig).cache_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 4, result.stderr
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
