"""Operations on tensors that lie on some chips of an open mesh.

TT-NN then makes a program for these chips, and TT-Metal sends the others a signal in its place; the mock cluster has
nothing to write that signal to and crashes (`FDMeshCommandQueue::write_go_signal_sequences_to_unused_sub_grids`,
measured with ttnn 0.81.1). So TT-NN's part of such an operation runs in the mode of its graph capture that dispatches
nothing: checks, the chips it runs on, outputs' shapes, placements and programs are its own. It allocates nothing in
this mode either, so the outputs are allocated here. What it would refuse for lack of memory in between goes unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import device_tensors, substitute
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import ttnn


def on_part(tensors: list[ttnn.Tensor]) -> bool:
    """Whether any of these device tensors has no part on some chip of its mesh."""
    for tensor in tensors:
        mesh = tensor.device()
        chips = 1 if mesh is None else mesh.get_num_devices()
        if chips > 1 and len(tensor.device_coords()) < chips:
            return True
    return False


@contextmanager
def without_dispatch(name: str) -> Iterator[list[str]]:
    """Let TT-NN run operation `name` without memory and commands; gives the device operations that it ran.

    Raises:
        EmulationError: the program records a graph.
    """
    import ttnn

    refuse_nested(name)
    graph = ttnn._ttnn.graph
    graph.begin_graph_capture(graph.RunMode.NO_DISPATCH)
    launched: list[str] = []
    try:
        yield launched
    finally:
        launched += device_operations(graph.end_graph_capture())


def device_operations(nodes: list[dict[str, Any]]) -> list[str]:
    """The device operations in a graph that TT-NN captured, each of one program."""
    called = (node["params"].get("name", "") for node in nodes if node["node_type"] == "function_start")
    return [name for name in called if name.endswith(("Operation", "Op"))]


def refuse_nested(name: str) -> None:
    """Refuse to run an operation undispatched in a program's own graph capture, whose mode would count.

    Raises:
        EmulationError: the program records a graph.
    """
    import ttnn

    if ttnn._ttnn.graph.is_graph_capture_active():
        raise EmulationError(
            f"{name}: an input lies on some chips of its mesh only, which the emulated device can't run while a graph "
            "is captured. End the capture before, or place the tensor on a mesh_device.create_submesh(...) of its own."
        )


class Undispatched:
    """One run of TT-NN's part of an operation, without memory and commands.

    It runs on tensors that have no memory either: an operation may free its inputs, which in this mode only TT-NN's
    tensors would notice, and not its allocator.
    """

    def __init__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._arguments, self._keywords = arguments, keywords
        self._given = device_tensors(*arguments, *keywords.values())
        self._freed: list[ttnn.Tensor] = []
        self.runs = 0
        """How often TT-NN's part was run: twice if an output is a view of an argument, or an argument updated."""

    def run(self, original: Callable[..., Any]) -> Any:
        """What TT-NN returns, to be given to `complete` outside of this mode. Only to be called within it."""
        stand_ins = {id(tensor): _like(tensor) for tensor in self._given}
        numbers = {tensor.buffer_unique_id() for tensor in stand_ins.values()}
        output = self._run(original, stand_ins)
        self._freed = [tensor for tensor in self._given if not stand_ins[id(tensor)].is_allocated()]
        if any(tensor.buffer_unique_id() in numbers for tensor in device_tensors(output)):  # a view, or an update
            freed = {id(tensor): _like(tensor) for tensor in self._freed}
            output = self._run(original, freed)
        return output

    def _run(self, original: Callable[..., Any], instead: dict[int, ttnn.Tensor]) -> Any:
        def chosen(tensor: ttnn.Tensor) -> ttnn.Tensor:
            return instead.get(id(tensor), tensor)

        self.runs += 1
        return original(*substitute(self._arguments, chosen), **substitute(self._keywords, chosen))

    def complete(self, output: Any) -> Any:
        """`output` with memory, on the same chips, for tensors that are not views of the arguments."""
        import ttnn

        for tensor in self._freed:
            ttnn.deallocate.function(tensor)
        buffers = {tensor.buffer_unique_id() for tensor in self._given if tensor.is_allocated()}
        made = {id(it): _like(it) for it in device_tensors(output) if it.buffer_unique_id() not in buffers}
        return substitute(output, lambda tensor: made.get(id(tensor), tensor))


def _like(tensor: ttnn.Tensor) -> ttnn.Tensor:
    """A new tensor of the same kind on the same chips."""
    import ttnn

    whole = ttnn.allocate_tensor_on_device.function(tensor.spec, tensor.device())
    places = set(map(tuple, tensor.device_coords()))
    parts = [part for part in ttnn.get_device_tensors(whole) if tuple(part.device_coords()[0]) in places]
    made = ttnn.combine_device_tensors(tensors=parts) if len(parts) > 1 else parts[0]
    made.update_tensor_topology(tensor.tensor_topology())
    return made
