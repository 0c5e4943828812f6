"""The programs of operations on some chips of a mesh, which TT-NN compiles and forgets when it dispatches nothing.

They count in `MeshDevice.num_program_cache_entries` as they would in TT-NN's own program cache. What tells two programs
apart is taken to be all that the operation is called with but the tensors' values and addresses; TT-NN's own hash can
tell fewer apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import substitute
from pytest_ttbringup.emulation.values import chips_of

if TYPE_CHECKING:
    import ttnn

_Method = Callable[..., Any]


class PartPrograms:
    """Those of all open mesh devices."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, int]] = {}
        self._disabled: set[int] = set()
        self.on_clear: Callable[[ttnn.MeshDevice, str], None] = lambda *_: None
        """Called with a mesh device and a method's name before that method empties its program cache."""

    def knows(self, mesh: ttnn.MeshDevice, key: str) -> bool:
        """Whether a call with this key was compiled before."""
        return key in self._known.get(mesh.id(), {})

    def add(self, mesh: ttnn.MeshDevice, key: str, programs: int) -> None:
        """Note that a call compiled so many programs, unless the mesh's program cache is disabled."""
        if mesh.id() not in self._disabled:
            self._known.setdefault(mesh.id(), {})[key] = programs

    def methods(self) -> dict[str, Callable[[_Method], _Method]]:
        """For methods of `ttnn.MeshDevice`: a function from TT-NN's own to the one to put in its place."""
        return {
            "num_program_cache_entries": lambda original: lambda mesh: original(mesh) + self._count(mesh),
            "clear_program_cache": lambda original: self._first(self._clear, original),
            "disable_and_clear_program_cache": lambda original: self._first(self._disable, original),
            "enable_program_cache": lambda original: self._first(self._enable, original),
        }

    @staticmethod
    def _first(note: Callable[[ttnn.MeshDevice], None], original: _Method) -> _Method:
        def method(mesh: ttnn.MeshDevice) -> Any:
            note(mesh)
            return original(mesh)

        return method

    def _count(self, mesh: ttnn.MeshDevice) -> int:
        return sum(self._known.get(mesh.id(), {}).values())

    def _clear(self, mesh: ttnn.MeshDevice) -> None:
        self.on_clear(mesh, "MeshDevice.clear_program_cache")
        self._known.pop(mesh.id(), None)

    def _disable(self, mesh: ttnn.MeshDevice) -> None:
        self.on_clear(mesh, "MeshDevice.disable_and_clear_program_cache")
        self._known.pop(mesh.id(), None)
        self._disabled.add(mesh.id())

    def _enable(self, mesh: ttnn.MeshDevice) -> None:
        self._disabled.discard(mesh.id())


def program_key(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """What a call has to do with its program."""

    def kind(tensor: ttnn.Tensor) -> Any:
        placed = chips_of(tensor) if tensor.device() is not None else None
        return tuple(tensor.shape), tensor.dtype.name, tensor.layout.name, str(tensor.memory_config()), placed

    return re.sub(r" at 0x[0-9a-f]+", "", repr((name, substitute(arguments, kind), substitute(keywords, kind))))
