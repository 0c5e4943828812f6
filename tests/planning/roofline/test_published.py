"""No speed that was published is above its bound; a bound that is beaten is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ttbringup.options import settings_of
from pytest_ttbringup.planning.known_configs import KNOWN_CONFIGS
from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.operations import Operand, Operation
from pytest_ttbringup.planning.roofline.peaks import Peaks, peaks_of
from pytest_ttbringup.planning.roofline.published import POSITION, PUBLISHED, Published, with_mlp_bfp4
from pytest_ttbringup.planning.roofline.work import Step
from pytest_ttbringup.targets import system_of

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "roofline_published.py"

Steps = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]


@pytest.fixture(scope="module")
def steps(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """What the models issue, recorded in a process of its own: this one's device computes values."""
    file = tmp_path_factory.mktemp("published") / "operations.json"
    cache = settings_of(pytestconfig).cache_dir
    subprocess.run(
        [sys.executable, str(SCRIPT), f"--cache={cache}", f"--operations={file}"], check=True, capture_output=True
    )
    read: Steps = json.loads(file.read_text())
    return read


def bound(steps: Steps, it: Published, what: str, peaks: Peaks) -> Bound:
    recorded = [
        Operation(
            **{
                **operation,
                **{side: tuple(operand(each) for each in operation[side]) for side in ("inputs", "outputs")},
            }
        )
        for operation in steps[f"{it.model} {it.chips}"][what]
    ]
    if it.mlp_bfp4:
        recorded = list(with_mlp_bfp4(recorded, KNOWN_CONFIGS[it.model]["intermediate_size"] // it.chips))
    return Bound.of(recorded, peaks, Step(it.users, POSITION))


def operand(stated: Mapping[str, Any]) -> Operand:
    return Operand(**{**stated, "shape": tuple(stated["shape"])})


def beaten(steps: Steps, it: Published, peaks: Peaks) -> bool:
    """Whether a published figure is better than the bound, even if all operations overlapped."""
    decode, prefill = (bound(steps, it, what, peaks) for what in ("decode", "prefill"))
    first = float("inf") if it.first_token_ms is None else it.first_token_ms
    return it.speed > 1 / decode.seconds or first < prefill.seconds * 1e3


@pytest.mark.parametrize("it", PUBLISHED, ids=lambda it: f"{it.model}-{it.system}-{it.users}-{it.speed}")
def test_no_published_speed_beats_its_bound(steps: Steps, it: Published) -> None:
    assert not beaten(steps, it, peaks_of(system_of(it.system)))


def test_a_bound_with_a_tenth_of_the_bandwidth_would_be_beaten(steps: Steps) -> None:
    for it in PUBLISHED:
        peaks = peaks_of(system_of(it.system))
        if it.chips == 1:
            assert beaten(steps, it, replace(peaks, dram_gb_s=peaks.dram_gb_s / 10))


def test_the_bound_of_one_chip_is_within_reach(steps: Steps) -> None:
    """TT-Metal's own Llama-3.1-8B runs at more than two thirds of it, so it is no idle one."""
    (it,) = (it for it in PUBLISHED if it.system == "n150" and not it.mlp_bfp4)
    assert it.speed * bound(steps, it, "decode", peaks_of(system_of("n150"))).seconds > 2 / 3


def test_a_step_of_8b_moves_its_weights_and_its_cache(steps: Steps) -> None:
    """By hand, in bfloat8_b: all matrices once, K and V of 129 positions rounded up to tiles, the new row's tiles both
    ways; and the logits in bfloat16, which are written, untilized (read and written) and read by the argmax.
    """
    it = Published("llama-3.1-8b", "n150", 1, 32, False, 0, None, "")
    dram = bound(steps, it, "decode", peaks_of(system_of("n150"))).work.dram
    layer = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
    weights = (32 * layer + 4096 * 128256) * 1088 / 1024
    cache = 32 * 2 * 32 * 8 * 160 * 128 * 1088 / 1024
    updates = 32 * 2 * 2 * 32 * 8 * 4 * 1088
    logits = 4 * 32 * 128256 * 2
    assert dram == pytest.approx(weights + cache + updates + logits, rel=1e-3)
