"""What an operation takes while it runs, beside the buffers that are allocated when it has returned: circular buffers
of its programs, buffers that it frees itself, and inputs that it consumes.

TT-Metal places circular (also called dataflow) buffers from the bottom of L1 at the start of a program, and forgets
them when another one starts; no allocator knows them. TT-NN tells of them in a graph capture that allocates and sends
nothing (`RunMode.NO_DISPATCH`), and of dataflow buffers only there. So an operation that is met for the first time is
called once more in such a capture, which costs 1 to 10 ms (25 ms for a matmul), and what was told is kept. 11 of 25
operations tried are refused by TT-NN itself when L1 is full, and for these the figures were the ends of the regions in
TT-NN's words ("Statically allocated circular buffers … clash with L1 buffers") to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import substitute

if TYPE_CHECKING:
    import ttnn

Beside = Mapping[int, int]
"""Bytes of a bank, by kind of memory (the values of `ttnn.BufferType.DRAM` and `L1`)."""

Call = tuple[Any, ...]
"""An operation's name, and of what kind its inputs and outputs were."""

MOVES = frozenset({"ttnn.move", "ttnn.reallocate"})
"""Operations that do nothing when input and output have one address, as all have in a capture that allocates nothing.
So they are watched as they run, and tell of the programs that they compile then.
"""


class ProgramMemory:
    """What each operation's programs took, of those that were met on a device."""

    def __init__(self) -> None:
        self._beside: dict[int, dict[Call, Beside]] = {}
        self._programs: dict[int, int] = {}
        """For each device how many programs were in its cache when last seen."""

    def beside(
        self,
        name: str,
        inputs: list[ttnn.Tensor],
        outputs: list[ttnn.Tensor],
        run: Callable[[], object],
        told: Beside | None = None,
    ) -> Beside:
        """What an operation which has just run took beside the buffers that are allocated now.

        Operations of one name on tensors of the same kind may be different programs, by their other arguments: the
        greatest of those that were compiled while somebody measured counts.

        Args:
            name: the operation's.
            inputs: its tensors, also those that it has freed.
            outputs: what it returned.
            run: calls it again, on inputs that are alive.
            told: what it took, if that is known.
        """
        device = (outputs or inputs)[0].device()
        known, programs = self._beside.setdefault(device.id(), {}), device.num_program_cache_entries()
        call = ("" if name in MOVES else name, len(inputs), *map(_kind, inputs), *map(_kind, outputs))
        if call not in known or told is not None or programs > self._programs.get(device.id(), 0):
            self._programs[device.id()] = programs
            found, before = beside_buffers(run) if told is None else told, known.get(call, {})
            known[call] = {kind: max(found.get(kind, 0), before.get(kind, 0)) for kind in {**found, **before}}
        return known[call]

    def close(self, device: int) -> None:
        """Forget a device."""
        self._beside.pop(device, None)
        self._programs.pop(device, None)


_RELEASED = "ttbringup: outputs released"


def beside_buffers(run: Callable[[], object], *, watching: bool = False) -> Beside:
    """What an operation needs at most beside what is allocated when it returns. Nothing if TT-NN can't tell: inside a
    graph capture of the caller's own, or when the operation fails in one.

    Args:
        run: calls the operation. Its inputs must be alive, and survive the call or be made by `run`.
        watching: let it allocate and run its programs. TT-NN then tells only of programs that it compiles.

    Raises:
        Exception: what the operation raises while it is watched.
    """
    import ttnn

    graph = ttnn._ttnn.graph
    if graph.is_graph_capture_active():  # the caller's own
        if watching:
            run()
        return {}
    graph.begin_graph_capture(graph.RunMode.NORMAL if watching else graph.RunMode.NO_DISPATCH)
    failed = False
    try:
        outputs = run()
        graph.track_function_start(_RELEASED)
        del outputs  # in the capture, since the allocator knows nothing of them
        graph.track_function_end()
    except (RuntimeError, TypeError, ValueError):
        failed = True
        if watching:
            raise
    finally:
        nodes = graph.end_graph_capture()
    if failed:
        return {}
    if watching:
        nodes = _without_those_from_before(nodes)
    peak, held = _of_buffers(nodes, "L1")
    l1 = int(graph.extract_resource_usage_per_core(nodes).peak_total) - held
    peak, held = _of_buffers(nodes, "DRAM")
    return {ttnn.BufferType.L1.value: l1, ttnn.BufferType.DRAM.value: peak - held}


def with_stand_ins(
    call: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    consumed: list[ttnn.Tensor],
    mesh: ttnn.MeshDevice,
) -> Any:
    """Call an operation that consumed inputs once more, on others of their kind. Only where nothing is allocated."""
    import ttnn

    instead = {id(it): ttnn.allocate_tensor_on_device.function(it.spec, mesh) for it in consumed}

    def alive(tensor: ttnn.Tensor) -> ttnn.Tensor:
        return instead.get(id(tensor), tensor)

    return call(*substitute(arguments, alive), **substitute(keywords, alive))


def _without_those_from_before(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes, without the ends of buffers that were allocated before: TT-NN's count would go below 0 with these."""
    own: set[tuple[str, int]] = set()
    kept = []
    for node in nodes:
        where = (node["params"] or {}).get("type", ""), int((node["params"] or {}).get("address", 0))
        if node["node_type"] == "buffer_allocate":
            own.add(where)
        foreign = node["node_type"] == "buffer_deallocate" and where not in own
        kept.append({**node, "node_type": "buffer"} if foreign else node)  # none may be missing
    return kept


def _of_buffers(nodes: list[dict[str, Any]], kind: str) -> tuple[int, int]:
    """Bytes of each bank in an operation's own buffers: at most at once, and when it returns."""
    peak = held = 0
    for node in nodes:
        params = node["params"] or {}
        if node["node_type"] == "function_start" and params.get("name") == _RELEASED:
            break
        if params.get("type") == kind and node["node_type"] in ("buffer_allocate", "buffer_deallocate"):
            held += int(params["max_size_per_bank"]) * (1 if node["node_type"] == "buffer_allocate" else -1)
            peak = max(peak, held)
    return peak, held


def _kind(tensor: ttnn.Tensor) -> tuple[Any, ...]:
    """What tells programs of one operation apart; TT-NN's shapes and specs are hashed by identity."""
    return str(tensor.shape), tensor.dtype, tensor.layout, tensor.memory_config(), tensor.is_allocated()
