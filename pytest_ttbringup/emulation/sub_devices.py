"""Sub-devices: managers that split a device's cores.

TT-Metal's mock cluster crashes in `load_sub_device_manager` (measured with ttnn 0.81.1). One sub-device without memory
of its own, which TT-NN's communication code makes of all cores it may use, computes what the whole device does; so it
is taken for that, under the same id 0. That an operation uses a core outside of it goes unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_ttbringup.emulation.errors import EmulationError

_Method = Callable[..., Any]


class SubDevices:
    """The managers that were made, of all open devices."""

    def __init__(self) -> None:
        self._made: dict[int, list[tuple[Any, int, int]]] = {}
        """By mesh device: the manager's id, its number of sub-devices, the bytes of L1 of each."""

    def methods(self) -> dict[str, Callable[[_Method], _Method]]:
        """For methods of `ttnn.MeshDevice`: a function from TT-NN's own to the one to put in its place."""
        return {"create_sub_device_manager": self._creating, "load_sub_device_manager": self._loading}

    def _creating(self, original: _Method) -> _Method:
        def create(mesh: Any, sub_devices: Sequence[Any], local_l1_size: int) -> Any:
            made = original(mesh, sub_devices, local_l1_size)
            self._made.setdefault(mesh.id(), []).append((made, len(sub_devices), local_l1_size))
            return made

        return create

    def _loading(self, _: _Method) -> _Method:
        def load(mesh: Any, sub_device_manager_id: Any) -> None:
            self._load(mesh, sub_device_manager_id)

        return load

    def _load(self, mesh: Any, sub_device_manager_id: Any) -> None:
        """Take the device for its one sub-device.

        Raises:
            EmulationError: the manager is unknown, or its sub-devices are several or have memory of their own.
        """
        name = "MeshDevice.load_sub_device_manager"
        for manager, count, l1_size in self._made.get(mesh.id(), ()):
            if manager != sub_device_manager_id:
                continue
            if count != 1 or l1_size:
                raise EmulationError(
                    f"{name}: a manager of {count} sub-devices with {l1_size} B of L1 each is not emulated; one "
                    "sub-device without L1 of its own is. Run this test with --tt-target=silicon or simulator."
                )
            mesh.clear_program_cache()  # TT-Metal does so whenever it changes the manager
            return
        raise EmulationError(
            f"{name}: mesh device {mesh.id()} has no such manager; MeshDevice.create_sub_device_manager makes one."
        )
