"""Recording the operations of a trace.

While a trace is captured the device executes nothing, and nothing else happens here: TT-NN checks each operation,
allocates its outputs and selects its program as ever, no value is computed, and what the operation would do is noted.
What the hardware refuses in a capture is refused, with the sentence TT-Metal has for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.allocator import allocated
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.handles import Buffer, TensorHandle
from pytest_ttbringup.emulation.part_meshes import device_operations, refuse_nested
from pytest_ttbringup.emulation.program_memory import Beside
from pytest_ttbringup.emulation.values import Place, place_of

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.semantics import Semantics


class Recorded(NamedTuple):
    """One operation of a trace, with handles in place of device tensors."""

    name: str
    rule: Semantics
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    output: Any
    inputs: list[TensorHandle]
    written: list[TensorHandle]
    beside: Beside
    """What it takes beside the buffers of tensors; nothing of devices that are not measured."""


@dataclass
class Capture:
    """A trace while it is captured, and what is left of it for the replays."""

    number: int
    mesh: ttnn.MeshDevice
    queue: int
    operations: list[Recorded] = field(default_factory=list)
    buffers: dict[int, Buffer] = field(default_factory=dict)
    own: dict[int, tuple[Place, int]] = field(default_factory=dict)
    """Buffers that were allocated in the capture: number -> place and bytes in each bank."""
    programs: int = 0
    refused: str = ""
    """The first refusal of this capture: what was captured is not the whole program, and must not be replayed."""
    manager: int = 0
    """Which sub-device manager was loaded, 0 for the one that a mesh device has from the start."""
    fit: bool = False
    """Whether it has got room in the trace region."""

    def blocks(self, mesh: ttnn.MeshDevice) -> bool:
        """Whether nothing reaches the chips of a mesh device during this capture."""
        return mesh.id() == self.mesh.id() or not set(mesh.get_device_ids()).isdisjoint(self.mesh.get_device_ids())

    def refuse_beside(self, name: str, mesh: ttnn.MeshDevice, queue: int) -> None:
        """Refuse a command that is not part of the capture, though its device is.

        During a capture TT-Metal turns a chip's commands off (`SystemMemoryManager::set_bypass_mode`), those of all
        its queues and of all mesh devices it belongs to: a write is lost, a read and an event are waited for in vain.

        Raises:
            EmulationError: always.
        """
        other = "" if mesh.id() == self.mesh.id() else f" of mesh device {mesh.id()}"
        self.refuse(name, f"it is on queue {queue}{other}, and the capture on queue {self.queue} of mesh device "
                    f"{self.mesh.id()}. While a trace is captured TT-Metal sends nothing to its chips, from no queue "
                    "and no other mesh device, so that this would be lost. Move it out of the capture.")  # fmt: skip

    @contextmanager
    def watching(self, name: str, *, dispatched: bool = True) -> Iterator[None]:
        """Watch TT-NN run an operation's host side.

        Args:
            name: the operation's full name.
            dispatched: False if TT-NN shall leave out memory and commands, and with them its program cache.

        Raises:
            EmulationError: the operation writes to the device or reads from it on the host, or compiled a program.
        """
        import ttnn

        graph = ttnn._ttnn.graph
        nested = graph.is_graph_capture_active()  # someone records a graph already; it would mix with ours
        before = self.mesh.num_program_cache_entries()
        if not dispatched:
            refuse_nested(name)
        if not nested:
            graph.begin_graph_capture(graph.RunMode.NORMAL if dispatched else graph.RunMode.NO_DISPATCH)
        nodes: list[dict[str, Any]] = []
        try:
            yield
        finally:
            if not nested:
                nodes = graph.end_graph_capture()
        called = [node["params"].get("name", "") for node in nodes if node["node_type"] == "function_start"]
        if "Tensor::to_device" in called:
            self.refuse(name, "Writes are not supported during trace capture: it makes its values on the host and "
                        "writes them to the device. Make the tensor before the capture.")  # fmt: skip
        if "Tensor::cpu" in called:
            self.refuse(name, "Reads are not supported during trace capture: it reads a device tensor on the host.")
        if self.mesh.num_program_cache_entries() > before:
            self.refuse_program(name)
        launched = len(device_operations(nodes)) if not nested else 1
        if launched and dispatched and not self.mesh.num_program_cache_entries():
            self.refuse(name, "Cannot load new binaries during trace capture: the program cache is disabled, so that "
                        "every operation is compiled anew. Call mesh_device.enable_program_cache().")  # fmt: skip
        self.programs += launched

    def refuse_program(self, name: str) -> None:
        """Refuse an operation whose program was not compiled before.

        Raises:
            EmulationError: always.
        """
        self.refuse(name, "Cannot load new binaries during trace capture: this program is not yet in the program "
                    "cache. Run the same operations, with the same shapes, formats and memory configs, once "
                    "before ttnn.begin_trace_capture.")  # fmt: skip

    @contextmanager
    def complete(self, name: str) -> Iterator[None]:
        """Mark the capture as incomplete if an operation fails in it."""
        try:
            yield
        except Exception as error:
            self.refused = self.refused or f"{name} failed in its capture ({str(error).splitlines()[0]})"
            raise

    def refuse(self, name: str, why: str) -> None:
        """Refuse something in the capture.

        Raises:
            EmulationError: always.
        """
        message = f"{name} in the capture of trace {self.number}: {why}"
        self.refused = self.refused or message
        raise EmulationError(message)

    def adopt(self, tensors: list[ttnn.Tensor]) -> None:
        """Note new buffers as the capture's own, with the size TT-NN's allocator gave them."""
        if tensors:
            sizes = allocated(self.mesh)
            for tensor in tensors:
                place = place_of(tensor)
                self.own[tensor.buffer_unique_id()] = (place, sizes.get(place, 0))

    def require_room(self, others: int) -> None:
        """Put the trace into the trace region of the device, where other traces take `others` bytes.

        Raises:
            EmulationError: the region is too small; the trace can't be replayed then. A region of 0 bytes means that
                TT-Metal takes DRAM as needed.
        """
        import ttnn

        view = ttnn.get_memory_view(self.mesh, ttnn.BufferType.TRACE)
        region = view.total_bytes_per_bank * view.num_banks
        if region and others + self.size > region:
            self.refused = (
                f"ttnn.end_trace_capture: creating trace buffers of size {others + self.size} B on mesh device "
                f"{self.mesh.id()}, but only {region} B is allocated for the trace region. Trace {self.number} needs "
                f"about {self.size} B ({self.programs} programs; an estimate, the device's own size may differ by half)"
                f", other traces {others} B. Open the device with a larger trace_region_size (device_params), or "
                "release a trace with ttnn.release_trace."
            )
            raise EmulationError(self.refused)
        self.fit = True

    @property
    def size(self) -> int:
        """Bytes of the trace's commands: an estimate of 2 KiB for each program and 96 B for each core it runs on.

        The emulated device never assembles the commands. The two figures are chosen so that the sizes which public
        TT-NN models reserve (8 to 30 KiB a program on 64 cores) lie at or above the estimate.
        """
        grid = self.mesh.compute_with_storage_grid_size()
        return self.programs * (2048 + 96 * int(grid.x * grid.y))
