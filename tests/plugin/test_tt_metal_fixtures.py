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


def test_programs_are_counted(device):
    counter = device.cache_entries_counter
    ones = ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)
    with counter.measure():
        ttnn.exp(ones)
    assert counter.total == 1
    counter.decorator(ttnn.exp)(ones)
    assert counter.total == 1
    counter.decorator(ttnn.neg)(ones)
    assert counter.total == 2
    counter.reset()
    assert counter.total == 0


@pytest.mark.parametrize("mesh_device", [1], indirect=True)
@pytest.mark.parametrize("time", ["first", "again"])
def test_programs_of_an_earlier_test_are_forgotten(mesh_device, time):
    ttnn.exp(ttnn.ones([32, 32], device=mesh_device, layout=ttnn.TILE_LAYOUT))
    assert mesh_device.num_program_cache_entries() == 1


def test_an_expected_error(expect_error):
    with expect_error(ValueError, "invalid literal"):
        int("one")


def test_a_model_is_where_its_name_says(model_location_generator):
    assert model_location_generator("bert-base", model_subdir="bert", download_if_ci_v2=True) == "bert-base"


def test_another_error_than_expected(expect_error):
    with expect_error(ValueError, "out of range"):
        int("one")


@pytest.mark.requires_grid_size((8, 7))
def test_a_grid_that_fits(device):
    pass


@pytest.mark.requires_grid_size((13, 10))
def test_a_grid_too_wide(device):
    pass


@pytest.mark.requires_grid_size(1000)
def test_too_many_cores(mesh_device):
    pass


@pytest.mark.requires_fast_runtime_mode_off
def test_slow_mode():
    pass


def test_other_systems(galaxy_type, is_single_card_n300):
    assert galaxy_type is None
    assert not is_single_card_n300


def test_the_chips_of_a_blackhole(bh_1d_mesh_device):
    pass


def test_the_chips_of_a_t3000(pcie_mesh_device):
    pass


def test_a_device_of_its_own(function_level_defaults):
    device = ttnn.open_device(device_id=0)
    ttnn.close_device(device)


def test_a_device_for_a_while(function_level_defaults):
    with ttnn.manage_device(0) as device:
        assert ttnn.to_torch(ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)).sum() == 1024


def test_a_device_after_that(device):
    assert ttnn.to_torch(ttnn.ones([32, 32], device=device, layout=ttnn.TILE_LAYOUT)).sum() == 1024
"""


def test_tests_of_tt_metal_run(run: Run, pytester: pytest.Pytester) -> None:
    theirs = ("use_module_device", "requires_grid_size", "requires_fast_runtime_mode_off")
    pytester.makeini("[pytest]\nmarkers =" + "".join(f"\n    {name}: theirs" for name in theirs))
    pytester.makepyfile(test_theirs=TESTS)
    result = run("-rs")
    result.assert_outcomes(passed=12, failed=1, skipped=6)
    result.stdout.fnmatch_lines_random(
        [
            "*for blackhole; this system is wormhole_b0*",
            "*for a worker grid of (13, 10) or more; this chip has 8x?*",
            "*for a worker grid of 1000 or more*",
            "*for the four PCIe chips of a T3000*",
            "*for TT-NN's slow runtime mode*",
        ]
    )
