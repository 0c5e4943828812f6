"""TT-NN's graph captures that allocate and send nothing."""

from __future__ import annotations

import gc

import pytest
import ttnn


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("mode", ["NO_DISPATCH", "NORMAL"])
@pytest.mark.usefixtures("mesh_device")
def test_no_garbage_is_collected_in_a_capture_that_sends_nothing(mode: str, collecting: bool) -> None:
    """Buffers that die in one leave TT-NN's allocator a dangling pointer."""
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        ttnn.graph.begin_graph_capture(getattr(ttnn.graph.RunMode, mode))
        inside = gc.isenabled()
        ttnn.graph.end_graph_capture()
        behind = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()
    assert (inside, behind) == (collecting and mode == "NORMAL", collecting)
