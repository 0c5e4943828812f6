"""Putting the value plane around TT-NN, once per process."""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.interception import OperationWrapper
from pytest_ttbringup.emulation.transfers import Transfers
from pytest_ttbringup.emulation.values import DeviceMemory

_MEMORY = DeviceMemory()
_UNSUPPORTED = {
    "begin_trace_capture": "trace capture",
    "end_trace_capture": "trace capture",
    "execute_trace": "trace replay",
    "release_trace": "trace replay",
    "wait_for_event": "waiting for an event of another command queue",
}
"""Calls on which the mock cluster brings the process down (measured with ttnn 0.81.1)."""

_installed: list[ExitStack] = []
"""What undoes the one installation, once there is one."""


def install() -> None:
    """Wrap TT-NN so that every operation and read has values. Imports `ttnn`; a second call does nothing."""
    if _installed:
        return
    import ttnn
    from ttnn.decorators import FastOperation

    changes = ExitStack()
    _installed.append(changes)
    # TT-NN's bindings complain at exit about everything that is still held.
    atexit.register(uninstall)

    def replace(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        changes.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, replacement)

    transfers = Transfers(_MEMORY)
    wrapper = OperationWrapper(_MEMORY, FastOperation.__call__, transfers.operations())
    # A function and not the object itself, so that Python binds it as a method.
    replace(FastOperation, "__call__", lambda operation, *args, **kwargs: wrapper(operation, *args, **kwargs))
    for name, method in transfers.tensor_methods().items():
        replace(ttnn.Tensor, name, method)
    replace(ttnn._ttnn.tensor, "load_tensor_flatbuffer", transfers.file_loader())
    for name, function in transfers.functions().items():
        replace(ttnn, name, function)
    # Crashes on the mock cluster; nothing is ever under way there.
    replace(ttnn.MeshDevice, "quiesce_devices", lambda _: None)
    for name, what in _UNSUPPORTED.items():
        replace(ttnn, name, _refusal(name, what))


def uninstall() -> None:
    """Give TT-NN back its own functions, and forget all values."""
    while _installed:
        _installed.pop().close()
    forget_values()


def forget_values() -> None:
    """Drop all values: the device whose buffers held them was closed."""
    _MEMORY.clear()


def keep_alive(*devices: Any) -> None:
    """Let these meshes never be destroyed: TT-Metal ends the process if it can't close one then."""
    for device in devices:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(device))


def _refusal(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise EmulationError(
            f"ttnn.{name}: {what} is not emulated yet, and TT-Metal's mock cluster would crash. "
            "Run this test with --tt-target=silicon or simulator."
        )

    return refuse
