"""Tokens and positions on the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn
from ttnn_models.config import DECODE_BATCH
from ttnn_models.decode_state import INACTIVE, DecodeState

from pytest_ttbringup.errors import BringupError


def read(tensor: Any) -> list[int]:
    values: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(tensor)[0])
    return [int(value) for value in values.flatten()]


def test_nobody_takes_part_at_first(mesh_device: Any) -> None:
    state = DecodeState(mesh_device)
    assert read(state.positions) == [INACTIVE] * DECODE_BATCH
    assert state.read_tokens() == [0] * DECODE_BATCH


def test_buffers_stay_where_they_are(mesh_device: Any) -> None:
    state = DecodeState(mesh_device)
    buffers = state.tokens, state.tokens_out, state.positions, state.rotary_positions
    before = [buffer.buffer_address() for buffer in buffers]
    state.write_tokens([7, 8])
    state.write_positions([0, 100])
    state.advance()
    assert [buffer.buffer_address() for buffer in buffers] == before
    assert state.tokens.buffer_address() == state.tokens_out.buffer_address()
    assert state.read_tokens()[:3] == [7, 8, 0]


def test_advance_moves_active_users_only(mesh_device: Any) -> None:
    state = DecodeState(mesh_device)
    state.write_positions([0, INACTIVE, 30])
    assert read(state.rotary_positions)[:4] == [0, 0, 30, 0]
    for _ in range(3):
        state.advance()
    assert read(state.positions) == [3, INACTIVE, 33] + [INACTIVE] * (DECODE_BATCH - 3)
    assert [read(state.rotary_positions)[user] for user in (0, 2)] == [3, 33]


def test_too_many_users(mesh_device: Any) -> None:
    state = DecodeState(mesh_device)
    with pytest.raises(BringupError, match=r"A decode step has 32 users; 33 given"):
        state.write_tokens([1] * 33)
    with pytest.raises(BringupError, match=r"A decode step has 32 users; 33 given"):
        state.write_positions([1] * 33)
