"""Forked child processes of one that has a mesh open, such as the workers of a PyTorch DataLoader.

TT-Metal's threads stay behind in the parent. A child that uses the mesh waits for them for ever, and so does one that
only exits by `sys.exit`: destructors close the mesh (measured with ttnn 0.81.1). So the mesh is refused to the child,
and left alone when it exits.
"""

from __future__ import annotations

import ctypes
import gc
import os
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import device_tensors
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import ttnn


class Forks:
    """Knows the meshes that this process has of its parent."""

    def __init__(self) -> None:
        self._inherited: set[int] = set()
        self._registered = False

    def watch(self, closed: set[int]) -> None:
        """Have every child forked from here on leave the open meshes alone; `closed` holds the ids of others."""
        if not self._registered:
            self._registered = True  # for good: Python has no way back
            os.register_at_fork(after_in_child=lambda: self._begin_child(closed))

    def check(self, name: str, mesh: ttnn.MeshDevice) -> None:
        """Refuse to use a mesh in a child of the process that opened it.

        Raises:
            EmulationError: this is such a child.
        """
        if self._inherited and mesh.id() in self._inherited:
            raise EmulationError(
                f"{name}: mesh device {mesh.id()} was opened before this process was forked from its parent, where "
                "TT-Metal's threads are; on any target the call would hang here. Use the device in the process that "
                "opened it, and only host tensors in workers."
            )

    def check_call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """The same for all meshes of a call's arguments.

        Raises:
            EmulationError: one is such a mesh.
        """
        if not self._inherited:
            return
        import ttnn

        values = (*arguments, *keywords.values())
        for mesh in (it for it in values if isinstance(it, ttnn.MeshDevice)):
            self.check(name, mesh)
        for tensor in device_tensors(*values):
            self.check(name, tensor.device())

    def _begin_child(self, closed: set[int]) -> None:
        import ttnn

        meshes = [it for it in gc.get_objects() if type(it) is ttnn.MeshDevice]
        self._inherited.update({mesh.id() for mesh in meshes} - closed)
        keep_alive(*meshes)
        libc = ctypes.CDLL(None)
        if (meshes or closed) and hasattr(libc, "on_exit"):
            # Runs before the destructors of TT-Metal's own objects, which were registered earlier, and instead of them.
            libc.on_exit(libc._exit, None)


def keep_alive(*devices: ttnn.MeshDevice) -> None:
    """Let these meshes never be destroyed: TT-Metal ends the process, or hangs, if it can't close one then."""
    for device in devices:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(device))
