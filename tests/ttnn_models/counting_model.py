"""A model that counts: the token after t is t + 1. For tests of the bookkeeping around a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import ttnn
from ttnn_models.decode_state import INACTIVE, DecodeState
from ttnn_models.lm_head import LMHead
from ttnn_models.parallelism import SINGLE

VOCABULARY = 128
MOST_STEPS = 200
"""No text here takes so many: one that never ends fails, and does not hang."""


class CountingModel:
    """Predicts t + 1, and notes the tokens and positions of every step."""

    def __init__(self, mesh_device: Any) -> None:
        self.mesh_device = mesh_device
        self.config = SimpleNamespace(max_seq_len=32, vocab_size=VOCABULARY)
        self.parallelism = SINGLE
        self.lm_head = LMHead  # for its static `greedy`
        self.seen: list[list[tuple[int, int]]] = []

    def new_kv_caches(self) -> list[Any]:
        return []

    def decode(self, state: DecodeState, kv_caches: list[Any]) -> Any:  # noqa: ARG002
        assert len(self.seen) < MOST_STEPS, f"after {MOST_STEPS} steps somebody's text has not ended"
        tokens = state.read_tokens()
        positions = [int(position) for position in ttnn.to_torch(state.positions).flatten()]
        self.seen.append(list(zip(tokens, positions, strict=True)))
        return self.logits_behind(torch.tensor(tokens))

    def logits_behind(self, tokens: torch.Tensor) -> Any:
        """Of tokens [R]: [1, 1, R, V] on the device."""
        logits = torch.nn.functional.one_hot((tokens.long() + 1) % VOCABULARY, VOCABULARY)[None, None].bfloat16()
        return ttnn.from_torch(logits, layout=ttnn.TILE_LAYOUT, device=self.mesh_device)

    def decode_forced(self, state: DecodeState, kv_caches: list[Any]) -> Any:
        logits = self.decode(state, kv_caches)
        state.advance()
        return logits

    def decode_greedy(self, state: DecodeState, kv_caches: list[Any]) -> None:
        self.decode(state, kv_caches)
        state.write_tokens([token + 1 for token in state.read_tokens()])
        state.advance()

    def of_user(self, user: int) -> list[tuple[int, int]]:
        """(token, position) of the steps in which the user took part."""
        return [step[user] for step in self.seen if step[user][1] != INACTIVE]


class UnsureModel(CountingModel):
    """Counts, but finds every token possible."""

    def logits_behind(self, tokens: torch.Tensor) -> Any:
        logits = ttnn.to_torch(super().logits_behind(tokens)).float()
        unsure = logits * 2 + torch.linspace(0, 1, VOCABULARY)
        return ttnn.from_torch(unsure.bfloat16(), layout=ttnn.TILE_LAYOUT, device=self.mesh_device)

    def decode_greedy(self, state: DecodeState, kv_caches: list[Any]) -> None:
        logits = self.decode(state, kv_caches)
        self.lm_head.greedy(logits, out=state.tokens_out)
        state.advance()
