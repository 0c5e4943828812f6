"""The interleaved form of rotary embedding against Hugging Face's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from ttnn_models.config import ModelConfig
from ttnn_models.rope import cos_sin_tables, from_interleaved, interleave_rows, rotation_tile, to_interleaved

HEAD_DIM = 64
POSITIONS = 96
ROPE = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


def hf_config(rope: dict[str, Any]) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=HEAD_DIM,
        max_position_embeddings=POSITIONS,
        rope_parameters=rope,
    )


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """What the device computes, in interleaved order: x·cos + (x @ transformation)·sin, tile by tile."""
    turned = torch.cat([tile @ rotation_tile() for tile in x.split(32, dim=-1)], dim=-1)
    return x * cos + turned * sin


@given(pairs=st.integers(1, 64), rows=st.integers(1, 5))
def test_the_orders_undo_each_other(pairs: int, rows: int) -> None:
    x = torch.arange(rows * 2 * pairs).reshape(rows, 2 * pairs)
    assert torch.equal(from_interleaved(to_interleaved(x)), x)
    assert torch.equal(to_interleaved(from_interleaved(x)), x)


def test_interleaved_order() -> None:
    assert to_interleaved(torch.arange(6)).tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("rope_type", ROPE)
def test_rotation_is_hugging_faces(rope_type: str) -> None:
    hf = hf_config(ROPE[rope_type])
    x = torch.randn(1, 3, POSITIONS, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    expected, _ = apply_rotary_pos_emb(x, x, *LlamaRotaryEmbedding(hf)(x, torch.arange(POSITIONS)[None]))
    cos, sin = cos_sin_tables(ModelConfig.from_hf(hf))
    torch.testing.assert_close(from_interleaved(rotated(to_interleaved(x), cos, sin)), expected)

    off_by_one = rotated(to_interleaved(x), cos.roll(1, 0), sin.roll(1, 0))
    assert not torch.allclose(from_interleaved(off_by_one), expected, atol=1e-2)
    assert not torch.allclose(rotated(x, cos, sin), expected, atol=1e-2)  # heads left in half order


def test_scalings_differ() -> None:
    tables = [cos_sin_tables(ModelConfig.from_hf(hf_config(rope)))[0] for rope in ROPE.values()]
    assert not any(torch.allclose(a, b, atol=1e-2) for index, a in enumerate(tables) for b in tables[index + 1 :])


def test_permuted_rows_give_interleaved_heads() -> None:
    weight = torch.randn(3 * HEAD_DIM, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.randn(5, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    heads = (x @ weight.T).unflatten(-1, (3, HEAD_DIM))
    permuted = (x @ interleave_rows(weight, HEAD_DIM).T).unflatten(-1, (3, HEAD_DIM))
    torch.testing.assert_close(permuted, to_interleaved(heads))
