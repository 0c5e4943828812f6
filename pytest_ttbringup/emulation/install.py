"""Putting the value plane around TT-NN, once per process."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from typing import Any

from pytest_ttbringup.emulation.command_functions import command_functions
from pytest_ttbringup.emulation.commands import Commands
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.guards import guarded_methods
from pytest_ttbringup.emulation.interception import OperationWrapper
from pytest_ttbringup.emulation.overlapped import overlapped_files
from pytest_ttbringup.emulation.preparation import preparations
from pytest_ttbringup.emulation.tensor_type import tensor_type
from pytest_ttbringup.emulation.transfers import Transfers
from pytest_ttbringup.emulation.values import DeviceMemory
from pytest_ttbringup.replacing import replace, replace_everywhere

_MEMORY = DeviceMemory()
_COMMANDS = Commands(_MEMORY)

_installed: list[ExitStack] = []
"""What undoes the one installation, once there is one."""


def install() -> None:
    """Wrap TT-NN so that every operation and read has values. Imports `ttnn`; a second call does nothing."""
    if _installed:
        return
    import ttnn
    from ttnn.decorators import FastOperation

    if not ttnn.CONFIG.enable_fast_runtime_mode:
        raise EmulationError(
            "TT-NN runs in its slow runtime mode (enable_fast_runtime_mode is false), in which the emulated device "
            "does not see operations. Take the setting out of TTNN_CONFIG_OVERRIDES or the file of TTNN_CONFIG_PATH."
        )
    changes = ExitStack()
    _installed.append(changes)
    # TT-NN's bindings complain at exit about everything that is still held.
    atexit.register(uninstall)
    _COMMANDS.forks.watch(_MEMORY.closed)

    transfers = Transfers(_MEMORY, _COMMANDS)
    wrapper = OperationWrapper(_MEMORY, FastOperation.__call__, transfers.operations(), _COMMANDS)
    _COMMANDS.replay = wrapper.replay
    # A function and not the object itself, so that Python binds it as a method.
    replace(changes, FastOperation, "__call__", lambda operation, *args, **kwargs: wrapper(operation, *args, **kwargs))
    for name, method in transfers.tensor_methods().items():
        replace(changes, ttnn.Tensor, name, method)
    replace(changes, ttnn, "Tensor", tensor_type(ttnn.Tensor, transfers.place))
    replace(changes, ttnn._ttnn.tensor, "load_tensor_flatbuffer", transfers.file_loader())
    replace(changes, ttnn._ttnn.tensor, "dump_tensor_flatbuffer", transfers.file_writer())
    for name, function in overlapped_files(transfers.on_host, transfers.place).items():
        replace(changes, ttnn._ttnn.tensor, name, function)
    for name, function in transfers.functions().items():
        replace(changes, ttnn, name, function)
    for original, replacement in [*command_functions(_COMMANDS), *_MEMORY.graph_captures.functions()]:
        replace_everywhere(changes, original, replacement)
    methods = guarded_methods(_COMMANDS.is_closed) | _COMMANDS.sub_devices.methods() | _COMMANDS.part_programs.methods()
    for name, guard in methods.items():
        replace(changes, ttnn.MeshDevice, name, guard(getattr(ttnn.MeshDevice, name)))
    for name, function in preparations(_MEMORY, ttnn._ttnn.operations.conv).items():
        replace(changes, ttnn._ttnn.operations.conv, name, function)


def uninstall() -> None:
    """Give TT-NN back its own functions, and forget all values."""
    while _installed:
        _installed.pop().close()
    forget_values()


def forget_values() -> None:
    """Drop all values: the device whose buffers held them was closed."""
    _MEMORY.clear()
    _COMMANDS.clear()


def start_test(mesh: Any) -> None:
    """Measure the memory of a mesh device from here on."""
    _MEMORY.meter.start(mesh)


def end_test(mesh: Any) -> tuple[bool, list[dict[str, Any]]]:
    """Let all commands of a test be over; whether the mesh can go on (it can't in the middle of a trace capture), and
    the memory that was used at most, as `Target.end_test` has it.
    """
    if _COMMANDS.is_closed(mesh):
        return False, []
    used = []
    for device, peaks in _MEMORY.meter.stop_all(mesh).items():
        kinds = {peak.kind.lower(): peak._asdict() for peak in peaks}
        for kind in kinds.values():
            del kind["kind"]
        used.append({"device": device, **kinds})
    usable = not _COMMANDS.traces.is_capturing(mesh.id())
    _COMMANDS.traces.end_test(mesh.id())
    _COMMANDS.queues.synchronize(mesh.id(), None)
    if usable and _MEMORY.graph_captures.allocator_answers():
        for it in (mesh, *_MEMORY.meter.submeshes(mesh)):
            _MEMORY.sweep(it)
    return usable, used
