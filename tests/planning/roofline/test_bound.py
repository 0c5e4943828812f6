"""Bounds: by hand, and what must hold whatever the shapes are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.operations import PHASES, Operand, Operation
from pytest_ttbringup.planning.roofline.peaks import Peaks, peaks_of
from pytest_ttbringup.planning.roofline.what_if import alternatives, with_precision
from pytest_ttbringup.planning.roofline.work import FULL_STEP, Step
from pytest_ttbringup.targets import system_of

N150 = peaks_of(system_of("n150"))
SIDES = st.integers(1, 4096)


def matmul(rows: int, inner: int, columns: int, dtype: str = "bfloat8_b", fidelity: str = "HiFi2") -> Operation:
    left = Operand((1, 1, rows, inner), "bfloat16", in_dram=False)
    out = Operand((1, 1, rows, columns), "bfloat16", in_dram=False)
    return Operation("MatmulDeviceOperation", (left, Operand((1, 1, inner, columns), dtype)), (out,), fidelity=fidelity)


def attention(positions: int = 1024) -> Operation:
    query = Operand((1, 32, 9, 64), "bfloat16", in_dram=False)
    cache = Operand((32, 3, positions, 64), "bfloat8_b")
    return Operation("SdpaDecodeDeviceOperation", (query, cache, cache), (query,), fidelity="HiFi2")


def seconds(*operations: Operation, peaks: Peaks = N150, step: Step = FULL_STEP) -> float:
    return Bound.of(operations, peaks, step).seconds


@pytest.mark.parametrize(
    ("system", "fidelity", "teraflops"),
    [("n150", "HiFi2", 148), ("n150", "HiFi4", 74), ("n300", "HiFi2", 131), ("n300", "HiFi4", 131 / 2)],
)
def test_peaks_are_those_of_the_cards(system: str, fidelity: str, teraflops: float) -> None:
    """TeraFLOPS (BFP8) and (FP16) of the cards' specifications; those of an n300 are of its two chips together."""
    assert peaks_of(system_of(system)).flops(fidelity) / 1e12 == pytest.approx(teraflops, rel=0.005)


def test_a_fidelity_takes_as_many_phases_as_it_is_named_after() -> None:
    assert [N150.flops("LoFi") / N150.flops(name) for name in PHASES] == [1, 2, 3, 4]
    assert N150.flops("") == N150.flops("LoFi")


@pytest.mark.parametrize("system", ["galaxy", "bh-galaxy", "p300", "custom"])
def test_a_system_without_published_peaks_is_refused(system: str) -> None:
    with pytest.raises(BringupError, match=rf"--tt-system={system}: no published figures.*Known: n150, n300"):
        peaks_of(system_of(system))


def test_a_decode_matmul_takes_as_long_as_its_weights() -> None:
    bound = Bound.of([matmul(32, 4096, 14336)], N150)
    assert bound.seconds == 4096 * 14336 / 1024 * 1088 / 288e9
    assert bound.operations[0].limit == "DRAM"


def test_a_prefill_matmul_takes_as_long_as_its_products() -> None:
    bound = Bound.of([matmul(4096, 4096, 14336, fidelity="HiFi4")], N150)
    assert bound.seconds == 2 * 4096 * 4096 * 14336 / (72 * 4096 * 1e9 / 4)
    assert bound.operations[0].limit == "compute"


@pytest.mark.parametrize(("system", "chips", "gigabytes"), [("n300", 2, 25), ("t3000", 8, 50), ("p150x4", 4, 400)])
def test_a_collective_takes_as_long_as_the_links(system: str, chips: int, gigabytes: float) -> None:
    """Two links of 12.5 GB/s on Wormhole, both ways out of a chip of more than two; four of 50 GB/s on Blackhole."""
    whole = Operand((1, 1, 32, 8192), "bfloat16", in_dram=False)
    part = replace(whole, shape=(1, 1, 32, 8192 // chips))
    gather = Operation("AllGatherDeviceOperation", (part,), (whole,))
    passed = (chips - 1) / chips * 32 * 8192 * 2
    assert seconds(gather, peaks=peaks_of(system_of(system))) == pytest.approx(passed / (gigabytes * 1e9))


def test_operations_are_added_up_and_overlap_at_best() -> None:
    memory, products = matmul(32, 4096, 14336), matmul(4096, 4096, 4096, fidelity="HiFi4")
    bound = Bound.of([memory, products, memory], N150)
    one, other = seconds(memory), seconds(products)
    assert bound.seconds == pytest.approx(2 * one + other)
    assert bound.overlapped < bound.seconds
    first, second = bound.groups()
    assert [len(first.operations), len(second.operations)] == ([2, 1] if 2 * one > other else [1, 2])
    assert bound.tokens_per_second_per_user == 1 / bound.seconds


@given(SIDES, SIDES, SIDES, st.sampled_from(sorted(PHASES)))
def test_fewer_bytes_and_phases_never_take_longer(rows: int, inner: int, columns: int, fidelity: str) -> None:
    times = [seconds(matmul(rows, inner, columns, dtype, fidelity)) for dtype in ("bfloat4_b", "bfloat8_b", "bfloat16")]
    assert times == sorted(times)
    by_phases = [seconds(matmul(rows, inner, columns, fidelity=name)) for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4")]
    assert by_phases == sorted(by_phases)


@given(SIDES, SIDES, SIDES, st.integers(0, 64), st.integers(0, 64), st.integers(0, 64))
def test_larger_matrices_never_take_less(rows: int, inner: int, columns: int, a: int, b: int, c: int) -> None:
    assert seconds(matmul(rows, inner, columns)) <= seconds(matmul(rows + a, inner + b, columns + c))


@given(st.integers(1, 31), st.integers(0, 1022))
def test_more_users_and_positions_never_take_less(users: int, position: int) -> None:
    least = seconds(attention(), step=Step(users, position))
    assert least < seconds(attention(), step=Step(users + 1, position))
    assert least <= seconds(attention(), step=Step(users, position + 1))


@given(SIDES, SIDES, SIDES, st.floats(1.01, 100))
def test_a_better_chip_never_takes_longer(rows: int, inner: int, columns: int, factor: float) -> None:
    operation = matmul(rows, inner, columns)
    memory = replace(N150, dram_gb_s=N150.dram_gb_s * factor)
    clock = replace(N150, clock_ghz=N150.clock_ghz * factor)
    both = replace(memory, clock_ghz=clock.clock_ghz)
    assert seconds(operation, peaks=both) < min(seconds(operation), seconds(operation, peaks=memory) * 1.000001)
    assert max(seconds(operation, peaks=memory), seconds(operation, peaks=clock)) <= seconds(operation)


def test_choices_are_the_bound_of_the_changed_operations() -> None:
    wide, narrow, other = matmul(32, 576, 1536), matmul(32, 576, 960), attention()
    found = alternatives([wide, wide, narrow, other], N150, FULL_STEP)
    assert [(it.label, it.count) for it in found] == [(wide.label, 2), (narrow.label, 1), ("all of them", 3)]
    smaller = matmul(32, 576, 1536, dtype="bfloat4_b")
    assert found[0].weights is not None
    assert found[0].weights.seconds == pytest.approx(seconds(smaller, smaller, narrow, other))
    assert found[0].fidelity is not None
    assert found[0].fidelity.seconds == pytest.approx(seconds(wide, wide, narrow, other))  # its weights bound it


def test_what_is_smallest_already_is_no_choice() -> None:
    (only,) = alternatives([matmul(32, 576, 960, dtype="bfloat4_b", fidelity="LoFi")], N150, FULL_STEP)
    assert (only.weights, only.fidelity, only.both) == (None, None, None)
    kept = matmul(32, 576, 960, dtype="bfloat4_b")
    assert with_precision(kept, weights=True, fidelity=False) == kept
