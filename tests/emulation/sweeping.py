"""Which values the emulated device still holds, whatever tests that ran before have left."""

from __future__ import annotations

import gc

import ttnn

from pytest_ttbringup.emulation.install import _MEMORY


def sweep(device: ttnn.MeshDevice) -> None:
    """Forget what tensors of other tests held that died without a word."""
    gc.collect()
    _MEMORY.sweep(device)
