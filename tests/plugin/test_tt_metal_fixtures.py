"""Tests written for TT-Metal's conftest.py find its fixtures here."""

from __future__ import annotations

import pytest

from .conftest import Run

TESTS = """
import pytest
import ttnn

pytestmark = pytest.mark.use_module_device({"l1_small_size": 16384})


def test_names(device, function_level_defaults, use_program_cache, is_ci_env, is_ci_v2_env, silicon_arch_name):
    assert silicon_arch_name == "wormhole_b0"
    assert not is_ci_v2_env
    assert ttnn.GetDefaultDevice() is device


def test_wormhole(silicon_arch_name, silicon_arch_wormhole_b0):
    pass


def test_blackhole(silicon_arch_name, silicon_arch_blackhole):
    pass


def test_a_device_of_its_own(function_level_defaults):
    device = ttnn.open_device(device_id=0)
    ttnn.close_device(device)


def test_a_device_after_that(device):
    assert ttnn.to_torch(ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)).sum() == 1024
"""


def test_tests_of_tt_metal_run(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    use_module_device: theirs")
    pytester.makepyfile(test_theirs=TESTS)
    result = run("-rs")
    result.assert_outcomes(passed=4, skipped=1)
    result.stdout.fnmatch_lines(["*for blackhole; this system is wormhole_b0*"])
