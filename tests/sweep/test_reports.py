"""What a sweep shows: every choice, whatever became of it."""

from __future__ import annotations

import csv
import io
import json
from xml.etree import ElementTree as ET

import pytest

from pytest_ttbringup.sweep import plot, table
from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.sweep.speed import Speed


def measured(name: str, kl: float | None, pcc: float = 0.9995, failures: tuple[str, ...] = ()) -> Measurement:
    return Measurement(
        name,
        name,
        modules={"decode_mlp": pcc, "decode_attention": 0.99987},
        top1=0.97656,
        top5=1.0,
        kl=kl,
        tests=48,
        red=len(failures),
        failures=failures,
    )


@pytest.fixture
def rows() -> list[table.Row]:
    return table.rows_of(
        [
            measured("default", 0.006),
            measured("slow & <worse>", 0.02),
            measured("fast", 0.1, 0.98799, ("decode_mlp: PCC 0.98799 < 0.999",)),
            Measurement("crashed", "crashed.toml", failures=("pytest ended with exit code 3: Killed",)),
            measured("unbounded", 0.001),
        ],
        [
            Speed(0.001, 300.0),
            Speed(0.002, 600.0),
            Speed(0.0005, 150.4),
            Speed(0.0004, 100.0),
            Speed(problem="ttbringup roofline: no room"),
        ],
    )


def test_the_table(rows: list[table.Row]) -> None:
    lines = [" ".join(line.split()) for line in table.as_text(rows).splitlines()]
    assert lines[:6] == [
        "choice PCC top-1 top-5 KL MB/step tokens/s/user tests Pareto",
        "default 0.99950 97.6 % 100.0 % 0.0060 300 1,000 green, 48 front",
        "slow & <worse> 0.99950 97.6 % 100.0 % 0.0200 600 500 green, 48 worse than default",
        "fast 0.98799 97.6 % 100.0 % 0.1000 150 2,000 1 red of 48 front",
        "crashed - - - - 100 2,500 stopped not measured",
        "unbounded 0.99950 97.6 % 100.0 % 0.0010 - - green, 48 not measured",
    ]
    assert lines[7:9] == ["least PCC mlp attention", "default 0.99950 0.99987"]
    assert lines[-6:] == [
        "red:",
        "fast: decode_mlp: PCC 0.98799 < 0.999",
        "crashed: pytest ended with exit code 3: Killed",
        "unbounded: ttbringup roofline: no room",
        "",
        "fastest with every test green: default, at most 1,000 tokens/s/user",
    ]


def test_shares_and_pccs_are_never_rounded_up() -> None:
    text = table.as_text(table.rows_of([measured("near", 0.1, 0.998999)], [Speed(0.001, 1.0)]))
    assert "0.99899" in text
    assert "97.6 %" in text  # of 0.97656


def test_nothing_is_advised_where_nothing_is_green(rows: list[table.Row]) -> None:
    assert table.advice(rows[2:4]) == "no choice is green on every test"


def test_all_forms_hold_every_choice(rows: list[table.Row]) -> None:
    names = [row.measured.name for row in rows]
    page = json.loads(table.as_json(rows, {"model": "tiny"}))
    assert page["model"] == "tiny"
    assert [it["name"] for it in page["choices"]] == names
    assert page["choices"][2]["modules"] == {"decode_mlp": 0.98799, "decode_attention": 0.99987}
    assert page["choices"][2]["problems"] == ["decode_mlp: PCC 0.98799 < 0.999"]
    lines = list(csv.DictReader(io.StringIO(table.as_csv(rows))))
    assert [it["name"] for it in lines] == names
    assert lines[1]["pareto"] == "worse than default"
    assert [line.split(" | ")[0].strip("| ") for line in table.as_markdown(rows).splitlines()[2:7]] == names


def test_the_plots(rows: list[table.Row]) -> None:
    lines = plot.as_text(rows).splitlines()
    assert lines[1].startswith("0.006 |")
    assert "A" in lines[1]
    assert lines[12].startswith("  0.1 |")
    assert lines[12].endswith("C")  # the fastest of those measured, and the furthest from the reference
    assert "b slow & <worse>" in lines[-1]  # lower case: not on the front
    assert "crashed" not in lines[-1]
    root = ET.fromstring(plot.as_svg(rows, "Precisions of <tiny>"))
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    assert [it.get("fill") for it in circles] == ["#1f77b4", "#777777", "white"]
    texts = [it.text for it in root.findall("{http://www.w3.org/2000/svg}text")]
    assert {"Precisions of <tiny>", "default", "slow & <worse>", "fast"} <= {*texts}


def test_plots_of_one_choice_and_of_none(rows: list[table.Row]) -> None:
    assert "A default" in plot.as_text(rows[:1])
    assert plot.as_text(rows[3:]) == ""
    ET.fromstring(plot.as_svg(rows[:1], "one"))
    ET.fromstring(plot.as_svg([], "none"))
