"""What a generator's plan refuses, before there is a device."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig
from ttnn_models.build import GeneratorPlan, plan_generator

from pytest_ttbringup.errors import BringupError

CONFIG = LlamaConfig(
    hidden_size=64,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_hidden_layers=2,
    intermediate_size=128,
    vocab_size=256,
    max_position_embeddings=1000,
)


def plan(prompts: list[list[int]], **changes: Any) -> GeneratorPlan:
    asked = {"max_new_tokens": 4, "mesh": (1, 1), "parallel": "dp", "precision": "default"} | changes
    return plan_generator(CONFIG, "small", prompts, **asked)


@pytest.mark.parametrize(("tokens", "positions"), [(1, 256), (253, 256), (254, 512), (900, 992), (989, 992)], ids=str)
def test_the_cache_has_room_and_not_much_more(tokens: int, positions: int) -> None:
    assert plan([[1] * tokens, [1]]).config.max_seq_len == positions


@pytest.mark.parametrize(
    ("prompts", "changes", "message"),
    [
        ([[1] * 990], {}, r"The text of user 0 needs 993 positions; the KV cache holds max_seq_len = 992"),
        ([[1], []], {}, r"The text of user 1 has no token"),
        ([], {}, r"0 texts given; a batch has 1 to 32 users"),
        ([[]], {"max_new_tokens": 1}, r"The text of user 0 has no token"),
        ([[1]] * 33, {}, r"33 texts given; a batch has 1 to 32 users"),
        ([[1]] * 65, {"mesh": (1, 2)}, r"65 texts given; a batch has 1 to 64 users"),
        ([[1]], {"max_new_tokens": 0}, r"max_new_tokens = 0 must be at least 1"),
        ([[1]], {"precision": "perfect"}, r"'perfect': no such preset"),
        ([[1]], {"mesh": (2, 2), "parallel": "tp"}, r"tensor parallel \(tp\) wants its chips along one row"),
    ],
    ids=["long", "empty", "none", "empty and one new", "33", "65 on two chips", "nothing new", "precision", "parallel"],
)
def test_what_can_not_be_had(prompts: list[list[int]], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BringupError, match=message):
        plan(prompts, **changes)
