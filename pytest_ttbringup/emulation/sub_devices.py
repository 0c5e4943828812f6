"""Sub-devices: parts of a chip's cores that run programs of their own.

TT-Metal's mock cluster crashes when a sub-device manager is loaded. Values don't depend on which cores compute them, so
here loading one only notes how many sub-devices there are, and programs run on the whole chip. What goes unchecked:
that an operation's cores and its sharded tensors lie inside its sub-device, the memory sub-devices keep for themselves
(`local_l1_size`), and, where there are two or more, which command queue may run programs on each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import ttnn

_Method = Callable[..., Any]


class SubDevices:
    """The sub-device managers of all mesh devices of this process."""

    def __init__(self) -> None:
        self._sizes: dict[int, list[tuple[Any, int]]] = {}
        """The managers of a mesh device and how many sub-devices each has, by the id of the mesh device."""
        self._loaded: dict[int, tuple[Any, int]] = {}
        """The loaded manager of a mesh device, and how many sub-devices it has, by the id of the mesh device."""
        self.on_change: Callable[[ttnn.MeshDevice, str], None] = lambda *_: None
        """Called with a mesh device and a method's name before that method loads another manager."""

    def methods(self) -> dict[str, Callable[[_Method], _Method]]:
        """For methods of `ttnn.MeshDevice`: a function from TT-NN's own to the one to put in its place."""
        return {
            "create_sub_device_manager": self._creating,
            "load_sub_device_manager": self._loading,
            "remove_sub_device_manager": self._removing,
            "clear_loaded_sub_device_manager": lambda _: lambda mesh: self._clear(mesh),
            "set_sub_device_stall_group": self._setting_stall_group,
        }

    def loaded_on(self, mesh: ttnn.MeshDevice) -> int:
        """What tells the loaded manager from others; 0 if it is the one that a mesh device has from the start."""
        return id(self._loaded[mesh.id()][0]) if mesh.id() in self._loaded else 0

    def count(self, mesh: ttnn.MeshDevice) -> int:
        """How many sub-devices a mesh device has now."""
        return self._loaded[mesh.id()][1] if mesh.id() in self._loaded else 1

    def on_whole_chip(self, mesh: ttnn.MeshDevice, keywords: dict[str, Any]) -> dict[str, Any]:
        """An operation's keywords with the whole chip in place of one of the sub-devices loaded here.

        Raises:
            EmulationError: the loaded manager has no such sub-device.
        """
        if mesh.id() not in self._loaded:
            return keywords
        import ttnn

        changed = {}
        for name, value in keywords.items():
            if isinstance(value, ttnn.SubDeviceId):
                self._check(mesh, [value])
                changed[name] = ttnn.SubDeviceId(0)
        return keywords | changed if changed else keywords

    def known_to_mock(self, mesh: ttnn.MeshDevice, sub_devices: Sequence[Any]) -> Sequence[Any]:
        """The sub-devices to name in a call to TT-NN itself: none where a manager is loaded that only we know of."""
        if mesh.id() not in self._loaded:
            return sub_devices
        self._check(mesh, sub_devices)
        return []

    def close(self, device: int) -> None:
        """Forget the managers of a mesh device that is closed."""
        self._sizes.pop(device, None)
        self._loaded.pop(device, None)

    def clear(self) -> None:
        """Forget all managers, whose ids TT-NN's bindings would miss at exit."""
        self._sizes.clear()
        self._loaded.clear()

    def _creating(self, original: _Method) -> _Method:
        def create(mesh: ttnn.MeshDevice, sub_devices: Sequence[ttnn.SubDevice], local_l1_size: int) -> Any:
            made = original(mesh, sub_devices, local_l1_size)
            self._sizes.setdefault(mesh.id(), []).append((made, len(sub_devices)))
            return made

        return create

    def _loading(self, _: _Method) -> _Method:
        def load(mesh: ttnn.MeshDevice, sub_device_manager_id: Any) -> None:
            own = self._sizes.get(mesh.id(), ())
            size = next((size for made, size in own if made is sub_device_manager_id), None)
            if size is None:
                raise EmulationError(
                    f"MeshDevice.load_sub_device_manager: {sub_device_manager_id!r} is no sub-device manager of mesh "
                    f"device {mesh.id()}; its create_sub_device_manager makes them."
                )
            self.on_change(mesh, "MeshDevice.load_sub_device_manager")
            self._loaded[mesh.id()] = sub_device_manager_id, size

        return load

    def _removing(self, original: _Method) -> _Method:
        def remove(mesh: ttnn.MeshDevice, sub_device_manager_id: Any) -> None:
            if any(loaded is sub_device_manager_id for loaded, _ in self._loaded.values()):
                raise EmulationError(
                    "MeshDevice.remove_sub_device_manager: this sub-device manager is loaded. Call "
                    "MeshDevice.clear_loaded_sub_device_manager first."
                )
            original(mesh, sub_device_manager_id)
            own = self._sizes.get(mesh.id(), [])
            own[:] = [(made, size) for made, size in own if made is not sub_device_manager_id]

        return remove

    def _clear(self, mesh: ttnn.MeshDevice) -> None:
        self.on_change(mesh, "MeshDevice.clear_loaded_sub_device_manager")
        self._loaded.pop(mesh.id(), None)

    def _setting_stall_group(self, original: _Method) -> _Method:
        def set_group(mesh: ttnn.MeshDevice, sub_device_ids: Sequence[Any]) -> None:
            original(mesh, sub_device_ids) if mesh.id() not in self._loaded else self._check(mesh, sub_device_ids)

        return set_group

    def _check(self, mesh: ttnn.MeshDevice, ids: Sequence[Any]) -> None:
        import ttnn

        _, size = self._loaded[mesh.id()]
        for wanted in ids:
            if all(wanted != ttnn.SubDeviceId(number) for number in range(size)):
                raise EmulationError(
                    f"{wanted} is out of range: the loaded sub-device manager has {size} sub-devices, numbered from 0."
                )
