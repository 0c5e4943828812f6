"""The board at the end of a run: what it says, when it is silent, and what it proposes next."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_ttbringup.reporting.board import board_lines, next_line, skip_lines
from pytest_ttbringup.reporting.figures import duration
from pytest_ttbringup.reporting.records import as_property, check_record, stage_record
from pytest_ttbringup.reporting.standing import Row, standing

from .conftest import Run


def reports(
    stage: int,
    test: str,
    *measured: dict[str, Any],
    model: str = "tiny-llama",
    case: str = "",
    outcome: str = "passed",
    seconds: float = 1.0,
) -> list[Any]:
    """The three reports of a stage test; the properties grow from phase to phase."""
    properties = [as_property(stage_record(stage, model=model, target="emulated", test=test, case=case)), ("other", 1)]
    after = [*properties, *(as_property(record) for record in measured)]
    return [
        SimpleNamespace(
            nodeid=f"{stage}::{test}[{model}-{case}]",
            when=when,
            outcome=result,
            duration=seconds,
            user_properties=known,
        )
        for when, result, known in [
            ("setup", "passed", properties),
            ("call", outcome, after),
            ("teardown", "passed", after),
        ]
    ]


def pcc(value: float | None, *, passed: bool = True) -> dict[str, Any]:
    return {"kind": "comparison", "name": "", "pcc": value, "threshold": 0.999, "passed": passed, "where": ""}


def tokens(top1: float, top5: float, *, passed: bool = True) -> dict[str, Any]:
    return {"kind": "tokens", "top1": top1, "top5": top5, "passed": passed}


def rows(*groups: list[Any], planned: dict[tuple[int, str], int] | None = None) -> list[Row]:
    return standing([report for group in groups for report in group], planned or {})


def test_the_board_of_the_design_document() -> None:
    lines = board_lines(
        rows(
            reports(0, "demo", check_record("sum", True, ""), model=""),
            reports(2, "decode_attention", pcc(0.99991), case="last"),
            reports(2, "decode_mlp", pcc(0.99995), case="first"),
            reports(3, "decode_layer", pcc(0.9998), case="first"),
            reports(6, "full_model", check_record("text", True, "")),
            reports(7, "teacher_forcing", tokens(0.984, 1.0)),
            reports(2, "decode_attention", pcc(0.982, passed=False), model="smollm2", case="first", outcome="failed"),
            planned={(4, "smollm2"): 1},
        ),
        200,
    )
    assert [" ".join(line.split()) for line in lines] == [
        "model target demo modules layer stack text forcing time",
        "smollm2 emulated ok FAIL decode_attention first 0.98200 - - - - 6 s",
        "tiny-llama emulated ok ok 0.99991 (attention last) ok 0.99980 (first) - ok ok 98.4/100 18 s",
    ]
    assert lines[0].index("forcing") == lines[2].index("ok 98.4/100")


def cell_of(*groups: list[Any], planned: dict[tuple[int, str], int] | None = None, width: int = 200) -> str:
    """The cell of the only model and stage."""
    header, line = board_lines(rows(*groups, planned=planned), width)
    place = header.index("layer")
    return line[place : header.index("time")].strip()


def test_the_worst_pcc_is_shown_never_rounded_up() -> None:
    shown = cell_of(
        reports(3, "decode_layer", pcc(0.9999), pcc(0.99999999), case="first"),
        reports(3, "decode_layer", pcc(0.998996), case="last"),
    )
    assert shown == "ok 0.99899 (last)"


def test_a_negative_control_is_no_figure_of_the_model() -> None:
    assert cell_of(reports(3, "decode_layer", pcc(0.9995), pcc(0.1, passed=False))) == "ok 0.99950"


def test_failures_are_counted_and_the_first_is_named() -> None:
    groups = [
        reports(3, "decode_layer", pcc(0.5, passed=False), case=case, outcome="failed") for case in ("first", "last")
    ]
    assert (
        cell_of(*groups, reports(3, "decode_layer", pcc(1.0), case="middle"))
        == "FAIL decode_layer first 0.50000 and 1 more"
    )


def test_an_undefined_pcc_fails_without_a_figure() -> None:
    assert cell_of(reports(3, "decode_layer", pcc(None, passed=False), outcome="failed")) == "FAIL decode_layer"


def test_an_error_in_set_up_is_a_failure() -> None:
    setup, _, teardown = reports(3, "decode_layer")
    setup.outcome = "failed"
    assert cell_of([setup, teardown]) == "FAIL decode_layer"


def test_skipped_and_partly_run_rungs_say_so() -> None:
    assert cell_of(reports(3, "decode_layer", outcome="skipped")) == "skip"
    shown = cell_of(reports(3, "decode_layer", pcc(0.9999)), planned={(3, "tiny-llama"): 6})
    assert shown == "ok 1/6 0.99990"


def test_the_reason_of_skipped_tests_is_told_once() -> None:
    groups = [reports(12, "data_parallel", case=str(number), outcome="skipped") for number in range(2)]
    for group in groups:
        group[1].longrepr = ("test_12.py", 7, "Skipped: data parallel wants several chips")
    assert skip_lines(rows(*groups)) == ["data parallel, skipped: data parallel wants several chips"]
    assert skip_lines(rows(reports(12, "data_parallel"))) == []


def test_skipped_and_xfailed_tests_of_a_green_rung_are_counted() -> None:
    groups = [reports(3, "decode_layer", pcc(0.9999), case="a")]
    groups += [reports(3, "decode_layer", case=str(number), outcome="skipped") for number in range(4)]
    assert cell_of(*groups) == "ok 0.99990 (a, 4 skipped)"
    groups[1][1].wasxfail = "for a reason"
    assert cell_of(*groups) == "ok 0.99990 (a, 3 skipped, 1 xfailed)"
    assert cell_of(groups[1]) == "xfail"
    assert cell_of(groups[2]) == "skip"


def test_the_kl_divergence_is_shown_where_it_fits() -> None:
    group = reports(3, "decode_layer", tokens(0.984, 1.0) | {"kl": 0.0064})
    assert cell_of(group) == "ok 98.4/100 KL 0.006"
    assert cell_of(group, width=45) == "ok 98.4/100"


def test_the_time_of_all_phases_is_summed() -> None:
    assert board_lines(rows(reports(3, "decode_layer", seconds=30)), 80)[1].endswith("  1 min 30 s")


def test_a_narrow_terminal_gets_a_line_per_rung() -> None:
    groups = [reports(stage, f"decode_{stage}", pcc(0.9999), case="middle") for stage in range(6)]
    assert board_lines(rows(*groups, planned={(6, "tiny-llama"): 1}), 60) == [
        "tiny-llama on emulated, 18 s",
        "  demo               3 s  ok 0.99990 (middle)",
        "  baseline           3 s  ok 0.99990 (middle)",
        "  decode modules     3 s  ok 0.99990 (middle)",
        "  decode layer       3 s  ok 0.99990 (middle)",
        "  decode stack       3 s  ok 0.99990 (middle)",
        "  prefill by decode  3 s  ok 0.99990 (middle)",
        "  full model              -",
    ]


@pytest.mark.parametrize("width", [200, 110, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    groups = [reports(stage, f"decode_{stage}", pcc(0.9999), case="middle") for stage in range(9)]
    groups.append(reports(2, "decode_attention", pcc(0.9, passed=False), case="first", outcome="failed"))
    lines = board_lines(rows(*groups), width)
    assert max(map(len, lines)) <= width
    assert any("FAIL decode_attention" in line for line in lines)


def advice(*groups: list[Any], planned: dict[tuple[int, str], int] | None = None, arguments=(), models=None) -> str:
    return next_line(rows(*groups, planned=planned), arguments=list(arguments), model_arguments=models or {})


LADDER = {(stage, "tiny-llama"): 1 for stage in range(5)}


def test_the_first_red_rung_is_to_be_run_again() -> None:
    failed = [reports(stage, f"rung_{stage}", outcome="failed") for stage in (3, 2)]
    assert advice(*failed, reports(1, "rung_1")) == "next: pytest -k rung_2"
    assert (
        advice(*failed, arguments=["model_tests", "--tt-layers=all"], models={"tiny-llama": "--tt-model=tiny-llama"})
        == "next: pytest model_tests --tt-layers=all -k rung_2 --tt-model=tiny-llama"
    )


def test_else_the_next_rung_above() -> None:
    assert advice(reports(1, "baseline"), planned=LADDER) == "next: pytest -k test_02    # decode modules"
    assert advice(reports(4, "decode_stack"), planned=LADDER) == "next: pytest -k test_00    # demo"
    skipped = reports(2, "decode_mlp", outcome="skipped")
    assert (
        advice(reports(1, "baseline"), skipped, planned=LADDER)
        == "next: pytest -k test_02    # decode modules (1 skipped)"
    )


def test_a_rung_with_skipped_xfailed_or_missing_tests_is_not_climbed() -> None:
    green = [reports(stage, f"rung_{stage}") for stage in range(4)]
    planned = {**LADDER, (4, "tiny-llama"): 3}
    one = reports(4, "decode_stack", case="a")
    assert advice(*green, one, planned=planned) == "next: pytest -k test_04    # decode stack (2 of 3 not run)"
    others = [reports(4, "decode_stack", case=case, outcome="skipped") for case in ("b", "c")]
    others[1][1].wasxfail = ""
    assert (
        advice(*green, one, *others, planned=planned)
        == "next: pytest -k test_04    # decode stack (1 skipped, 1 xfailed)"
    )
    assert "every rung" not in advice(*green, *others)


def test_else_the_next_stage_of_the_ladder() -> None:
    green = [reports(stage, f"rung_{stage}") for stage in range(5)]
    assert (
        advice(*green, planned=LADDER)
        == "next: every rung here is green; stage 5, prefill by decode, has no tests here"
    )
    beside = {4: ["x/test_04_a.py"], 6: ["x/test_06_b.py", "--tt-layers=all"]}
    line = next_line(rows(*green, planned=LADDER), arguments=[], model_arguments={}, beside=beside)
    assert line == "next: pytest x/test_06_b.py --tt-layers=all -k test_06    # full model"
    assert advice(*(reports(stage, f"rung_{stage}") for stage in range(14))) == "next: every rung here is green"


def test_running_one_file_names_the_next(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(**LADDER_FILES)
    result = run("test_00_demo.py")
    result.stdout.fnmatch_lines(["next: pytest test_02_decode_modules.py --tt-cache=* -k test_02    # decode modules"])


LADDER_FILES = {
    "test_00_demo": """
        import numpy as np
        import pytest

        x = np.arange(64.0)

        @pytest.mark.stage("demo")
        def test_demo(compare):
            compare(x, x)
        """,
    "test_02_decode_modules": """
        import numpy as np
        import pytest

        x = np.random.RandomState(1).randn(64)

        @pytest.mark.stage("decode modules")
        @pytest.mark.parametrize("model", ["tiny-llama"])
        @pytest.mark.parametrize("layer", ["first", "last"])
        def test_decode_mlp(compare, model, layer):
            compare(x, x + (0.05 if layer == "last" else 0.001) * x[::-1])

        @pytest.mark.stage("decode modules")
        def test_decode_attention(compare):
            compare(x, x)
        """,
    "test_03_decode_layer": """
        import pytest

        @pytest.mark.stage("decode layer")
        @pytest.mark.parametrize("model", ["tiny-llama"])
        def test_decode_layer(compare, model):
            compare.check("holds", True)
        """,
}


@pytest.mark.parametrize("arguments", [[], ["-n2"]], ids=["alone", "xdist"])
def test_a_run_ends_with_the_board(run: Run, pytester: pytest.Pytester, monkeypatch, arguments: list[str]) -> None:
    if arguments:
        pytest.importorskip("xdist")
    pytester.makepyfile(**LADDER_FILES)
    monkeypatch.setenv("COLUMNS", "120")
    result = run(
        *arguments, "-k", "not decode_layer and not decode_attention", "--tt-layers=0,3", "--pcc-threshold=0.9"
    )
    result.assert_outcomes(passed=3, deselected=0 if arguments else 2)
    result.stdout.fnmatch_lines(
        [
            "*- bring-up board -*",
            "model       target    demo        modules                layer  time",
            "tiny-llama  emulated  ok 1.00000  ok 2/3 0.99* (last)  -      * s",
            "next: pytest --pcc-threshold=0.9 --tt-layers=0,3 --tt-cache=* -k test_02    # decode modules (1 of 3 *)",
        ]
    )
    assert result.stdout.str().count("bring-up board") == 1
    assert "\x1b[" not in result.stdout.str(), "colour without a terminal"


def test_a_precision_that_was_asked_for_is_named(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_02_decode_modules=LADDER_FILES["test_02_decode_modules"])
    result = run("--tt-precision=accuracy", "--pcc-threshold=0.9", "--junit-xml=left.xml")
    result.stdout.fnmatch_lines(["*- bring-up board, precision accuracy -*"])
    left = [it.get("value", "") for it in ET.parse(pytester.path / "left.xml").iter("property")]
    stages = [record for it in left if (record := json.loads(it))["kind"] == "stage"]
    assert {(it["model"], it["precision"]) for it in stages} == {("tiny-llama", "accuracy"), ("", "")}


def test_the_command_it_proposes_reruns_the_red_rung(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(**LADDER_FILES)
    result = run("--pcc-threshold=0.999")
    line = next(line for line in result.outlines if line.startswith("next: pytest "))
    again = run(*(word for word in line.removeprefix("next: pytest ").split() if not word.startswith("--tt-cache")))
    assert again.parseoutcomes()["failed"] == result.parseoutcomes()["failed"] == 1
    again.stdout.fnmatch_lines(["FAILED *::test_decode_mlp[[]*last*"])


@pytest.mark.parametrize("arguments", [["-q"], ["-k", "unstaged"], ["--collect-only"], ["--no-summary"]])
def test_it_is_silent(run: Run, pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile(test_00_demo=LADDER_FILES["test_00_demo"] + "\n        def test_unstaged(): pass\n")
    result = run(*arguments)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*bring-up board*")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (119.6, "2 min 0 s"), (1600.2, "26 min 40 s")],
)
def test_a_minute_has_no_60_seconds(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
