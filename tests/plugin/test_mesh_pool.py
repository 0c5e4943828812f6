"""One mesh at a time, reused while tests want the same one, and closed whatever happens."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.fixtures.device import _mesh_shape
from pytest_ttbringup.fixtures.mesh_pool import MeshPool
from pytest_ttbringup.targets.systems import system_of

from .conftest import Run


class LoggingTarget:
    """A target whose meshes are words, and which logs what is asked of it."""

    name = "logging"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.usable = True

    def prepare(self) -> None:
        self.log.append("prepare")

    def install(self) -> None:
        pass

    def open_mesh(self, rows: int, cols: int, **device_params: Any) -> Any:
        if device_params.get("l1_small_size") == -1:
            raise RuntimeError("TT-NN refuses")
        self.log.append(f"open {rows}x{cols} {device_params}")
        return f"mesh {rows}x{cols}"

    def close_mesh(self, mesh: Any) -> None:
        self.log.append(f"close {mesh}")

    def start_test(self, mesh: Any) -> None:
        pass

    def end_test(self, mesh: Any) -> tuple[bool, list[dict[str, Any]]]:  # noqa: ARG002
        return self.usable, [{"device": 0}]

    def header(self) -> str:
        return "logging"


@pytest.fixture
def target() -> LoggingTarget:
    return LoggingTarget()


def test_a_mesh_that_a_test_left_unusable_is_closed(target: LoggingTarget) -> None:
    pool = MeshPool(target)
    target.usable = False
    noted: list[dict[str, Any]] = []
    with pool.lease((1, 1), {}, noted.append):
        pass
    assert target.log == ["open 1x1 {}", "close mesh 1x1"]
    assert noted == [{"device": 0}]


def test_a_mesh_is_reused_until_another_is_wanted(target: LoggingTarget) -> None:
    pool = MeshPool(target)
    for shape, params in [((1, 1), {}), ((1, 1), {}), ((1, 2), {}), ((1, 2), {"num_command_queues": 2}), ((1, 1), {})]:
        with pool.lease(shape, params) as mesh:
            assert mesh == f"mesh {shape[0]}x{shape[1]}"
    pool.close()
    pool.close()
    assert target.log == [
        "open 1x1 {}",
        "close mesh 1x1",
        "open 1x2 {'fabric_config': True}",
        "close mesh 1x2",
        "open 1x2 {'num_command_queues': 2, 'fabric_config': True}",
        "close mesh 1x2",
        "open 1x1 {}",
        "close mesh 1x1",
    ]


def test_equal_params_need_not_be_the_same_object_and_are_not_changed_later(target: LoggingTarget) -> None:
    pool = MeshPool(target)
    params = {"l1_small_size": 1}
    with pool.lease((1, 1), params):
        params["l1_small_size"] = 2
    with pool.lease((1, 1), {"l1_small_size": 1}):
        pass
    assert target.log == ["open 1x1 {'l1_small_size': 1}"]


def test_a_failed_opening_leaves_nothing_behind(target: LoggingTarget) -> None:
    pool = MeshPool(target)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="TT-NN refuses"), pool.lease((1, 1), {"l1_small_size": -1}):
            pass
    with pool.lease((1, 1), {}):
        pass
    pool.close()
    assert target.log == ["open 1x1 {}", "close mesh 1x1"]


def test_one_test_can_not_hold_two_meshes(target: LoggingTarget) -> None:
    pool = MeshPool(target)
    with (
        pool.lease((1, 2), {}),
        pool.lease((1, 2), {}),
        pytest.raises(BringupError, match=r"two different meshes at once, 1x2 .* and 1x1"),
        pool.lease((1, 1), {}),
    ):
        pass
    assert target.log == ["open 1x2 {'fabric_config': True}"]


@pytest.mark.parametrize("fabric", [None, False, "FABRIC_2D"])
def test_a_mesh_of_several_chips_has_a_fabric_unless_told_otherwise(target: LoggingTarget, fabric: Any) -> None:
    with MeshPool(target).lease((1, 2), {"fabric_config": fabric}):
        pass
    assert target.log == [f"open 1x2 {{'fabric_config': {fabric!r}}}"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trace_regionsize": 1}, "unknown key 'trace_regionsize'. The keys: l1_small_size, trace_region_size"),
        ({"dispatch_core_config": 1, "dispatch_core_axis": 2}, "dispatch_core_config together with"),
    ],
)
def test_wrong_keys_are_refused_before_anything_is_opened(target: LoggingTarget, params: dict, message: str) -> None:
    with pytest.raises(BringupError, match=re.escape(message)), MeshPool(target).lease((1, 1), params):
        pass
    assert target.log == []


def test_shapes_of_mesh_device() -> None:
    galaxy = system_of("galaxy")
    assert _mesh_shape(8, galaxy) == (1, 8)
    assert _mesh_shape((8, 4), galaxy) == (8, 4)
    for param in (0, -1, (1, 0), (1, 2, 3), "1x2", 1.0, True, None):
        with pytest.raises(BringupError, match=r"give a number of chips or \(rows, columns\)"):
            _mesh_shape(param, galaxy)
    with pytest.raises(BringupError, match=r"system n150 has 1. Run it with --tt-system=t3000"):
        _mesh_shape((2, 4), system_of("n150"))


LOGGED = """
import pytest
import ttnn

def logged(name):
    function = getattr(ttnn, name)
    def call(*arguments, **keywords):
        fabric = [str(it).split(".")[-1] for it in arguments if isinstance(it, ttnn.FabricConfig)]
        with open("log", "a") as log:
            print(name.removesuffix("_device"), *sorted(keywords), *fabric, file=log)
        return function(*arguments, **keywords)
    setattr(ttnn, name, call)

for name in ("open_mesh_device", "close_mesh_device", "set_fabric_config"):
    logged(name)
"""


def test_on_ttnn(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        LOGGED
        + """
import random
import numpy
import torch

def test_device(device):
    assert isinstance(device, ttnn.MeshDevice)
    assert tuple(device.shape) == (1, 1)

def test_the_default_mesh(mesh_device):
    assert tuple(mesh_device.shape) == (1, 1)

def test_both_if_they_are_the_same(mesh_device, device):
    assert mesh_device is device

@pytest.mark.parametrize("mesh_device", [1, (1, 1)], indirect=True)
def test_shapes(mesh_device):
    assert mesh_device.get_num_devices() == 1

def test_that_fails(device):
    assert False

PARAMS = {
    "l1_small_size": 16384, "trace_region_size": 32768, "num_command_queues": 2, "worker_l1_size": 1024 * 1024,
    "dispatch_core_type": ttnn.DispatchCoreType.WORKER, "dispatch_core_axis": ttnn.DispatchCoreAxis.ROW,
    "fabric_config": ttnn.FabricConfig.FABRIC_1D,
}

@pytest.mark.parametrize("device_params", [PARAMS], indirect=True)
def test_params(device, device_params):
    assert device_params == PARAMS

@pytest.mark.parametrize("device_params", [{"dispatch_core_config": ttnn.DispatchCoreConfig()}], indirect=True)
def test_dispatch_core_config(device): pass

@pytest.mark.parametrize("mesh_device", [2], indirect=True)
def test_a_mesh_too_large(mesh_device): pass

@pytest.mark.parametrize("device_params", [{"l1": 1}], indirect=True)
def test_an_unknown_key(device): pass

@pytest.mark.parametrize("again", [1, 2])
def test_seeds(reset_seeds, again):
    assert random.random() == random.Random(5).random()
    assert numpy.random.rand() == numpy.random.RandomState(5).rand()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))

def test_that_is_interrupted(device):
    raise KeyboardInterrupt
"""
    )
    result = run("--tt-seed=5")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(passed=9, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "this test wants a 1x2 mesh, 2 chips; system n150 has 1. Run it with --tt-system=n300.",
            "device_params has the unknown key 'l1'. The keys: l1_small_size, *",
            "ERROR *::test_an_unknown_key* - device_params ha*",
        ]
    )
    result.stdout.no_fnmatch_line("*mesh_pool.py*")
    params = "dispatch_core_config l1_small_size num_command_queues trace_region_size worker_l1_size"
    assert (pytester.path / "log").read_text().splitlines() == [
        "open_mesh",
        "close_mesh",
        "set_fabric_config FABRIC_1D",
        f"open_mesh {params}",
        "close_mesh",
        "set_fabric_config DISABLED",
        "open_mesh dispatch_core_config",
        "close_mesh",
        "open_mesh",
        "close_mesh",
    ]
    assert not (pytester.path / "generated").exists()
