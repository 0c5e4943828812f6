"""The profiler's file: read, matched with what was recorded, and refused where it is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.operations import Operand, Operation
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.profile import Profiled, compare, read_profile
from pytest_ttbringup.planning.roofline.report import measured_lines, measured_table
from pytest_ttbringup.targets import system_of

PROFILE = Path(__file__).parent / "data" / "ops_perf_results.csv"
"""Written by hand for these tests: no device measured it. Some columns of TT-Metal's profiler, in its order, named
as in tenstorrent/tt-perf-report, tests/data/ops_perf_results_2025_09_18_11_39_20.csv.
"""


def operation(kind: str, columns: int = 1536) -> Operation:
    x = Operand((1, 1, 32, 576), "bfloat16", in_dram=False)
    weights = (Operand((1, 1, 576, columns), "bfloat8_b"),) if kind == "Matmul" else ()
    return Operation(f"{kind}DeviceOperation", (x, *weights), (x,), fidelity="HiFi2")


def bound(*kinds: str) -> Bound:
    return Bound.of([operation(kind) for kind in kinds], peaks_of(system_of("n150")))


def profiled(*kinds: str, seconds: float = 1e-3) -> list[Profiled]:
    return [Profiled(kind, seconds, line) for line, kind in enumerate(kinds, start=2)]


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "ops.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_reads_what_the_first_device_ran_behind_the_last_signpost() -> None:
    assert read_profile(PROFILE) == [
        Profiled("LayerNorm", 11.2e-6, 5),
        Profiled("Matmul", 7.5e-6, 7),
        Profiled("Matmul", 2.9e-6, 9),
        Profiled("BinaryNg", 3.1e-6, 11),
    ]


def test_measured_beside_bound() -> None:
    found = compare(bound("LayerNorm", "Matmul", "Matmul", "BinaryNg"), read_profile(PROFILE))
    assert (found.missing, found.further) == ((), ())
    assert [it.below for it in found.matched] == [False, False, True, False]
    rows = measured_table(found)
    label, count, took, least, share, flag = next(row for row in rows if row[0].startswith("Matmul"))
    assert (label, count, took) == ("Matmul [32, 576] bfloat16 x [576, 1536] bfloat8_b HiFi2", "2", "10.4")
    assert float(least) == pytest.approx(2 * 18 * 48 * 1088 / 288e9 * 1e6, abs=0.05)
    assert (share, flag) == ("63%", "1 below the bound: check")
    assert "kernels took 24.7 us where the bound is 6.5 us (26% of the roofline), 4 operations" in next(
        measured_lines(found)
    )


def test_the_last_whole_step_of_several_counts() -> None:
    step = ("LayerNorm", "Matmul")
    profile = [*profiled("Untilize", *step, seconds=1.0), *profiled(*step, *step, "ArgMax", seconds=2.0)[1:]]
    profile[-2] = profile[-2]._replace(seconds=3.0)
    found = compare(bound(*step), profile)
    assert [it.seconds for it in found.matched] == [2.0, 3.0]


def test_what_differs_is_named() -> None:
    found = compare(bound("LayerNorm", "Matmul", "Typecast"), profiled("LayerNorm", "Fill", "Matmul"))
    assert [it.bound.operation.kind for it in found.matched] == ["LayerNorm", "Matmul"]
    _, missing, further = measured_lines(found)
    assert missing == "1 recorded operations are not in the profile: Typecast"
    assert further == "1 profiled operations were not recorded: Fill (line 3)"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (profiled("Fill", "Fill"), "none of its operations has the name of a recorded one"),
        (profiled(*["Fill"] * 9), "its 9 operations hold no step that issues the 2 recorded ones in their order"),
    ],
)
def test_another_program_is_refused(profile: Sequence[Profiled], said: str) -> None:
    with pytest.raises(BringupError, match=said):
        compare(bound("LayerNorm", "Matmul"), profile)


HEADER = "OP CODE,OP TYPE,DEVICE ID,DEVICE KERNEL DURATION [ns]"
GOOD = "MatmulDeviceOperation,tt_dnn_device,0,100"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["OP CODE,OP TYPE,DEVICE ID", GOOD], "line 1: no column 'DEVICE KERNEL DURATION .ns.'"),
        ([""], "line 1: no column 'OP CODE', 'OP TYPE', 'DEVICE ID', 'DEVICE KERNEL DURATION .ns.'"),
        ([HEADER, GOOD, GOOD + ",1"], "line 3: 5 cells, and the header has 4"),
        ([HEADER, "MatmulDeviceOperation"], "line 2: 1 cells, and the header has 4"),
        ([HEADER, GOOD, "Matmul,tt_dnn_device,0,soon"], "line 3: DEVICE KERNEL DURATION .* is 'soon'"),
        (
            [HEADER, "Matmul,tt_dnn_device,0,-1"],
            "line 2: DEVICE KERNEL DURATION .* is '-1'; it must be a number above 0",
        ),
        ([HEADER, "Matmul,tt_dnn_device,0,nan"], "line 2: DEVICE KERNEL DURATION .* is 'nan'"),
        ([HEADER, "Matmul,tt_dnn_device,0,"], "line 2: DEVICE KERNEL DURATION .* is ''"),
        ([HEADER, GOOD, "begin,signpost,,"], "behind its last signpost no row has the OP TYPE tt_dnn_device"),
        ([HEADER], "no row has the OP TYPE tt_dnn_device: nothing was measured"),
        ([HEADER, '"Matmul,tt_dnn_device'], "no CSV file"),
    ],
)
def test_a_file_that_is_none_of_the_profilers_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(BringupError, match=said):
        read_profile(written(tmp_path, *lines))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BringupError, match="can't be read: No such file"):
        read_profile(tmp_path / "none.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BringupError, match="not text in UTF-8"):
        read_profile(binary)
