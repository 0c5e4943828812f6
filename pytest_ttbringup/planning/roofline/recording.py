"""Recording what TT-NN issues: its own graph capture, read into `Operation`s.

Works on every target, and costs nothing while it is not used. A device operation that the emulated device computes
values for is recorded as it is issued, and so is one on a mock cluster alone, where nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.operations import Operand, Operation

Node = Mapping[str, Any]

_DRAM = 0
"""`ttnn.BufferType.DRAM`, as the graph writes it."""


@contextmanager
def recording() -> Iterator[list[Operation]]:
    """A list that holds the device operations of the block once it has ended well.

    Raises:
        BringupError: a graph is being captured already, which would mix with this one.
    """
    import ttnn

    graph = ttnn._ttnn.graph
    if graph.is_graph_capture_active():
        raise BringupError("TT-NN captures a graph already; end it (ttnn.graph.end_graph_capture) before recording.")
    operations: list[Operation] = []
    graph.begin_graph_capture(graph.RunMode.NORMAL)
    nodes: list[Node] = []
    try:
        yield operations
    finally:
        nodes = graph.end_graph_capture()
    operations += operations_of(nodes)


def operations_of(nodes: Sequence[Node]) -> list[Operation]:
    """The device operations in a graph that TT-NN captured, in the order they were issued."""
    by_number = {node["counter"]: node for node in nodes}
    found = []
    for at, node in enumerate(nodes):
        if node["node_type"] != "function_start" or "program_factory_type" not in node["params"]:
            continue
        body, end = _body(nodes, at)
        inputs = [by_number[number] for number in node["input_tensors"]]
        given = {it["params"]["tensor_id"] for it in inputs}
        made = {}
        returned = [by_number[number] for number in end["connections"]]
        for it in (*body, *returned):
            if it["node_type"] == "tensor" and it["params"]["tensor_id"] not in given:
                made[it["params"]["tensor_id"]] = it
        attributes = node["arguments"][0] if node["arguments"] else ""
        fidelity = re.search(r"math_fidelity=(\w+)", attributes)
        found.append(
            Operation(
                name=node["params"]["name"],
                inputs=tuple(_operand(it) for it in inputs if _is_on_device(it)),
                outputs=tuple(_operand(it) for it in made.values() if _is_on_device(it)),
                fidelity=fidelity[1] if fidelity else "",
                causal=_is_causal(attributes),
                start=_chunk_start(attributes),
            )
        )
    return found


def _body(nodes: Sequence[Node], at: int) -> tuple[Sequence[Node], Node]:
    """What happened within a function, and the node of its end."""
    level = nodes[at]["stacking_level"]
    for end in range(at + 1, len(nodes)):
        node = nodes[end]
        if node["node_type"] == "function_end" and node["stacking_level"] == level:
            return nodes[at + 1 : end], node
    raise BringupError(f"{nodes[at]['params']['name']} did not end while it was recorded, so it failed.")


def _is_on_device(node: Node) -> bool:
    return bool(node["params"].get("storage_type") == "DEVICE" and node["params"].get("buffer_type") is not None)


def _operand(node: Node) -> Operand:
    parameters = node["params"]
    return Operand(
        shape=tuple(int(side) for side in re.findall(r"\d+", parameters["shape"])),
        dtype=parameters["dtype"].rpartition("::")[2].lower(),
        tiled=parameters["layout"].endswith("TILE"),
        in_dram=int(parameters["buffer_type"]) == _DRAM,
    )


def _is_causal(attributes: str) -> bool:
    """`SDPAParams(scale, memory config, program config, is_causal, …)`."""
    if not attributes.startswith("SDPAParams("):
        return False
    found = re.search(r"(?:SDPAProgramConfig\([^()]*\)|\), std::nullopt), (\d), ", attributes)
    return found is not None and found[1] == "1"


def _chunk_start(attributes: str) -> int:
    """`SDPAParams(…, is_causal, chunk_start_idx, …)`."""
    if not attributes.startswith("SDPAParams("):
        return 0
    found = re.search(r"(?:SDPAProgramConfig\([^()]*\)|\), std::nullopt), \d, (\d+), ", attributes)
    return int(found[1]) if found else 0
