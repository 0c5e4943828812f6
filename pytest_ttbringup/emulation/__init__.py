"""The emulated device: TT-NN's genuine host stack on a mock cluster, with values computed on the host.

`prepare` sets the environment before `ttnn` is imported; `install` puts the value plane around TT-NN after that.
"""

from __future__ import annotations

from pytest_ttbringup.emulation.arithmetic import choose
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.forks import keep_alive
from pytest_ttbringup.emulation.install import end_test, forget_values, install, start_test
from pytest_ttbringup.emulation.runtime import prepare

__all__ = ["EmulationError", "choose", "end_test", "forget_values", "install", "keep_alive", "prepare", "start_test"]
