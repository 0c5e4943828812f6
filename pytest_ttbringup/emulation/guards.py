"""Calls on which TT-Metal's mock cluster brings the process down, answered before they reach it.

Each was found by experiment with ttnn 0.81.1, in a process of its own; `tests/emulation/trace/test_no_crash.py` repeats
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_ttbringup.emulation.errors import EmulationError

_Method = Callable[..., Any]


def guarded_methods(is_closed: Callable[[Any], bool]) -> dict[str, Callable[[_Method], _Method]]:
    """For methods of `ttnn.MeshDevice`: a function from TT-NN's own to the one to put in its place."""
    return {
        "quiesce_devices": lambda _: _refused("quiesce_devices", "it waits for fabric routers, which are not emulated"),
        **{name: _open_only(name, is_closed) for name in ("create_submesh", "create_submeshes")},
    }


def _refused(name: str, why: str) -> _Method:
    def refuse(*_: Any, **__: Any) -> None:
        raise EmulationError(f"MeshDevice.{name}: {why}. Run this test with --tt-target=silicon or simulator.")

    return refuse


def _open_only(name: str, is_closed: Callable[[Any], bool]) -> Callable[[_Method], _Method]:
    def guard(original: _Method) -> _Method:
        def method(mesh: Any, *arguments: Any, **keywords: Any) -> Any:
            if is_closed(mesh):
                raise EmulationError(f"MeshDevice.{name}: mesh device {mesh.id()} was closed.")
            return original(mesh, *arguments, **keywords)

        return method

    return guard
