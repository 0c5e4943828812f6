"""The decode step of a whole model, captured once, continues a text as the same step called eagerly does."""

from __future__ import annotations

from pathlib import Path

import pytest
import ttnn

USERS = 32
STEPS = 8


@pytest.mark.parametrize("device_params", [{"trace_region_size": 8 << 20}], indirect=True)
def test_replayed_decode_steps_write_the_eager_tokens(mesh_device: ttnn.MeshDevice, tmp_path: Path) -> None:
    from ttnn_models.config import ModelConfig
    from ttnn_models.decode_state import DecodeState
    from ttnn_models.model import CausalLM

    from pytest_ttbringup.reference.loading import load_model

    model = load_model("tiny-llama", cache_dir=tmp_path)
    config = ModelConfig.from_hf(model.config, max_seq_len=64)
    causal_lm = CausalLM.from_weights(mesh_device, config, model.reference.state_dict())

    def fresh_state() -> DecodeState:
        state = DecodeState(mesh_device)
        state.write_tokens([7 * user + 3 for user in range(USERS)])
        state.write_positions([0] * USERS)
        return state

    state, caches = fresh_state(), causal_lm.new_kv_caches()
    eager = []
    for _ in range(STEPS):
        causal_lm.decode_greedy(state, caches)
        eager.append(state.read_tokens())

    state, caches = fresh_state(), causal_lm.new_kv_caches()
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    causal_lm.decode_greedy(state, caches)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    replayed = []
    for _ in range(STEPS):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
        replayed.append(state.read_tokens())
    assert replayed == eager
    assert len({tuple(tokens) for tokens in eager}) > 1
