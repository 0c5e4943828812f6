"""TT-NN's graph captures that allocate and send nothing (`ttnn.graph.RunMode.NO_DISPATCH`).

TT-NN's allocator is left with a dangling pointer when a buffer from before dies in such a capture, and crashes the
process when it is asked for its buffers later (measured with ttnn 0.81.1). So it is not asked again; and nothing is
collected as garbage during such a capture, which would kill buffers from before at any moment.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_ttbringup.emulation.errors import EmulationError

Function = Callable[..., Any]


class GraphCaptures:
    """Follows the graph captures of this process."""

    def __init__(self) -> None:
        self._modes: list[bool] = []
        """For each capture under way, the outermost first, whether it was begun as one that sends nothing."""
        self._collecting = False
        """Whether garbage was collected before the captures under way."""
        self._dangling = ""

    def sends_nothing(self) -> bool:
        """Whether TT-NN allocates and sends nothing now. Of nested captures the outermost decides."""
        return bool(self._modes) and self._modes[0]

    def allocator_answers(self) -> bool:
        """Whether TT-NN's allocator can be asked for its buffers."""
        return not self._dangling

    def check_allocator(self) -> None:
        """Refuse to ask TT-NN's allocator for its buffers where that crashes.

        Raises:
            EmulationError: a device buffer died in a capture that sends nothing.
        """
        if self._dangling:
            raise EmulationError(
                f"TT-NN's allocator can't list its buffers any more: {self._dangling} in a graph capture with "
                "RunMode.NO_DISPATCH, and TT-NN crashes on its dangling pointer. Let tensors from before such a "
                "capture live until it has ended; what needs the list now runs in a new process only."
            )

    def functions(self) -> list[tuple[Function, Function]]:
        """TT-NN's own functions, each with what to put in its place."""
        import ttnn

        graph, reports = ttnn._ttnn.graph, ttnn._ttnn.reports
        ends = (graph.end_graph_capture, graph.end_graph_capture_to_file)
        lists = (reports.get_buffers, reports.get_buffer_pages)
        return [
            (graph.begin_graph_capture, self._begin(graph.begin_graph_capture)),
            *((function, self._end(function)) for function in ends),
            *((function, self._listing(function)) for function in lists),
        ]

    def _begin(self, original: Function) -> Function:
        import ttnn

        def begin_graph_capture(run_mode: Any = ttnn._ttnn.graph.RunMode.NORMAL) -> None:
            original(run_mode)
            self._modes.append(run_mode == ttnn._ttnn.graph.RunMode.NO_DISPATCH)
            if len(self._modes) == 1 and self.sends_nothing():
                self._collecting = gc.isenabled()
                gc.disable()

        return begin_graph_capture

    def _end(self, original: Function) -> Function:
        def end(*arguments: Any, **keywords: Any) -> Any:
            silent = self.sends_nothing()
            nodes = original(*arguments, **keywords)
            if self._modes:
                self._modes.pop()
            if silent and not self._modes and self._collecting:
                gc.enable()
            if silent:
                self._look_for_dead(nodes if isinstance(nodes, list) else _of_file(nodes))
            return nodes

        return end

    def _look_for_dead(self, nodes: list[dict[str, Any]]) -> None:
        """What such a capture allocates itself lies at address 0."""
        for node in nodes:
            params = node["params"] or {}
            if node["node_type"] == "buffer_deallocate" and int(params.get("address", 0)):
                self._dangling = self._dangling or f"a {params['type']} buffer at {int(params['address']):#x} died"

    def _listing(self, original: Function) -> Function:
        def listing(*arguments: Any, **keywords: Any) -> Any:
            self.check_allocator()
            return original(*arguments, **keywords)

        return listing


def _of_file(path: str) -> list[dict[str, Any]]:
    """The nodes in the file that `end_graph_capture_to_file` says it wrote."""
    nodes: list[dict[str, Any]] = json.loads(Path(path).read_bytes())["graph"]
    return nodes
