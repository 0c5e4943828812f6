"""Putting the value plane around TT-NN, once per process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.host import file_loader, tensor_methods
from pytest_ttbringup.emulation.interception import OperationWrapper
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

_installed = False


def install() -> None:
    """Wrap TT-NN so that every operation and read has values. Imports `ttnn`; a second call does nothing."""
    global _installed
    if _installed:
        return
    import ttnn
    from ttnn.decorators import FastOperation

    wrapper = OperationWrapper(_MEMORY, FastOperation.__call__)
    # A function and not the object itself, so that Python binds it as a method.
    FastOperation.__call__ = lambda operation, *arguments, **keywords: wrapper(operation, *arguments, **keywords)
    for name, method in tensor_methods(_MEMORY).items():
        setattr(ttnn.Tensor, name, method)
    ttnn._ttnn.tensor.load_tensor_flatbuffer = file_loader(_MEMORY)
    for name, what in _UNSUPPORTED.items():
        setattr(ttnn, name, _refusal(name, what))
    _installed = True


def forget_values() -> None:
    """Drop all values: the device whose buffers held them was closed."""
    _MEMORY.clear()


def _refusal(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise EmulationError(
            f"ttnn.{name}: {what} is not emulated yet, and TT-Metal's mock cluster would crash. "
            "Run this test with --tt-target=silicon or simulator."
        )

    return refuse
