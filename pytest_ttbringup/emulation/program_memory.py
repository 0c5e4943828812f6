"""What an operation's programs take of each core's L1 beside the buffers of tensors: their circular buffers.

TT-Metal places circular (also called dataflow) buffers from the bottom of L1 at the start of a program, and forgets
them when another one starts; no allocator knows them. TT-NN tells of them in a graph capture that allocates and sends
nothing (`RunMode.NO_DISPATCH`), and of dataflow buffers only there. So an operation that is met for the first time is
called once more in such a capture, which costs 1 to 10 ms (25 ms for a matmul), and what was told is kept. 11 of 25
operations tried are refused by TT-NN itself when L1 is full, and for these the figures were the ends of the regions in
TT-NN's words ("Statically allocated circular buffers … clash with L1 buffers") to the byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ttnn

Call = tuple[Any, ...]
"""An operation's name, and of what kind its inputs and outputs were."""


class ProgramMemory:
    """What each operation's programs took, of those that were met on a device."""

    def __init__(self) -> None:
        self._beside: dict[int, dict[Call, int]] = {}
        self._programs: dict[int, int] = {}
        """For each device how many programs were in its cache when last seen."""

    def beside(
        self, name: str, inputs: list[ttnn.Tensor], outputs: list[ttnn.Tensor], run: Callable[[], object]
    ) -> int:
        """The bytes of each core's L1 that an operation which has just run took beside its inputs and outputs.

        Operations of one name on tensors of the same kind may be different programs, by their other arguments: the
        greatest of those that were compiled while somebody measured counts.

        Args:
            name: the operation's.
            inputs: its tensors that are still alive.
            outputs: what it returned.
            run: calls it again.
        """
        device = (outputs or inputs)[0].device()
        known, programs = self._beside.setdefault(device.id(), {}), device.num_program_cache_entries()
        call = (name, len(inputs), *map(_kind, inputs), *map(_kind, outputs))
        if call not in known or programs > self._programs.get(device.id(), 0):
            self._programs[device.id()] = programs
            known[call] = max(known.get(call, 0), beside_buffers(run))
        return known[call]

    def close(self, device: int) -> None:
        """Forget a device."""
        self._beside.pop(device, None)
        self._programs.pop(device, None)


_RELEASED = "ttbringup: outputs released"


def beside_buffers(run: Callable[[], object]) -> int:
    """The bytes of a core's L1 that an operation needs at most beside its inputs and outputs: circular buffers, and
    buffers it frees before it returns. 0 if TT-NN can't tell: inside a graph capture of the caller's own, or when the
    operation fails in one.

    Args:
        run: calls the operation; its inputs must be alive and survive the call.
    """
    import ttnn

    graph = ttnn._ttnn.graph
    if graph.is_graph_capture_active():  # the caller's own
        return 0
    graph.begin_graph_capture(graph.RunMode.NO_DISPATCH)
    failed = False
    try:
        outputs = run()
        graph.track_function_start(_RELEASED)
        del outputs  # in the capture, since the allocator knows nothing of them
        graph.track_function_end()
    except (RuntimeError, TypeError, ValueError):
        failed = True
    finally:
        nodes = graph.end_graph_capture()
    if failed:
        return 0
    return int(graph.extract_resource_usage_per_core(nodes).peak_total) - _held_by_outputs(nodes)


def _held_by_outputs(nodes: list[dict[str, Any]]) -> int:
    """Bytes of each core's L1 that are allocated when an operation returns, of those it allocated."""
    held = 0
    for node in nodes:
        kind, params = node["node_type"], node["params"] or {}
        if kind == "function_start" and params.get("name") == _RELEASED:
            break
        if params.get("type") == "L1" and kind in ("buffer_allocate", "buffer_deallocate"):
            held += int(params["max_size_per_bank"]) * (1 if kind == "buffer_allocate" else -1)
    return held


def _kind(tensor: ttnn.Tensor) -> tuple[Any, ...]:
    """What tells programs of one operation apart; TT-NN's shapes and specs are hashed by identity."""
    return str(tensor.shape), tensor.dtype, tensor.layout, tensor.memory_config()
