"""What capturing a step may not do: change a cache, or move a user."""

from __future__ import annotations

from typing import Any

import pytest
import ttnn
from ttnn_models.decode_state import INACTIVE, DecodeState
from ttnn_models.traced_step import TracedStep

traced = pytest.mark.parametrize("device_params", [pytest.param({"trace_region_size": 1 << 20}, id="")], indirect=True)


@traced
def test_nobody_takes_part_while_the_step_is_compiled(mesh_device: Any) -> None:
    """The users' caches would change, at whatever positions the last text left them."""
    state = DecodeState(mesh_device)
    state.write_positions(range(32))
    compiled_at: list[list[int]] = []

    def step() -> None:
        if not compiled_at:
            compiled_at.append([int(position) for position in ttnn.to_torch(state.positions).flatten()])
        state.advance()

    TracedStep(mesh_device, step, state).release()
    assert compiled_at == [[INACTIVE] * 32]
    assert not ttnn.to_torch(state.rotary_positions).any(), "the capture leaves users moved on"


@traced
def test_a_replay_reads_what_the_state_holds_then(mesh_device: Any) -> None:
    """Of users who take part, behind a capture in which none did."""
    state = DecodeState(mesh_device)
    step = TracedStep(mesh_device, state.advance, state)
    try:
        state.write_positions([3, INACTIVE, 8])
        step()
        step()
        assert [int(position) for position in ttnn.to_torch(state.positions).flatten()[:4]] == [5, -1, 10, -1]
        assert [int(position) for position in ttnn.to_torch(state.rotary_positions).flatten()[:3]] == [5, 2, 10]
    finally:
        step.release()
