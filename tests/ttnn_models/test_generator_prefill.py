"""The generator's bookkeeping with prefilled prompts, with a model that counts: the token after t is t + 1."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import ttnn
from ttnn_models.config import TILE_SIZE
from ttnn_models.decode_state import INACTIVE, DecodeState
from ttnn_models.generator import Generation, Generator
from ttnn_models.lm_head import LMHead
from ttnn_models.parallelism import SINGLE
from ttnn_models.prefill_chunk import PrefillChunk

VOCABULARY = 128


class CountingModel:
    """Predicts t + 1, and notes which tokens of which user were prefilled, and which were decoded where."""

    def __init__(self, mesh_device: Any) -> None:
        self.mesh_device = mesh_device
        self.parallelism = SINGLE
        self.config = SimpleNamespace(max_seq_len=128, vocab_size=VOCABULARY)
        self.lm_head = SimpleNamespace(greedy=LMHead.greedy)
        self.prefilled: list[tuple[int, int, list[int]]] = []
        self.decoded: list[list[tuple[int, int]]] = []

    def new_kv_caches(self) -> list[Any]:
        return []

    def prefill(self, chunk: PrefillChunk, kv_caches: list[Any]) -> Any:  # noqa: ARG002
        tokens = ttnn.to_torch(chunk.tokens).flatten()
        self.prefilled.append((chunk.user, chunk.start, tokens[: chunk.length].tolist()))
        return self._on_device(tokens)

    def last_logits(self, hidden: Any, chunk: PrefillChunk) -> Any:
        return ttnn.slice(hidden, (0, 0, chunk.last_tile, 0), (1, 1, chunk.last_tile + TILE_SIZE, VOCABULARY))

    def all_logits(self, hidden: Any) -> Any:
        return ttnn.clone(hidden)

    def decode_greedy(self, state: DecodeState, kv_caches: list[Any]) -> None:  # noqa: ARG002
        tokens = state.read_tokens()
        positions = [int(position) for position in ttnn.to_torch(state.positions).flatten()]
        self.decoded.append(list(zip(tokens, positions, strict=True)))
        state.write_tokens([token + 1 for token in tokens])
        state.advance()

    def decode_forced(self, state: DecodeState, kv_caches: list[Any]) -> Any:
        tokens = torch.tensor(state.read_tokens())
        self.decode_greedy(state, kv_caches)
        return self._on_device(tokens)

    def of_user(self, user: int) -> list[tuple[int, int]]:
        """(token, position) of the decode steps in which the user took part."""
        return [step[user] for step in self.decoded if step[user][1] != INACTIVE]

    def _on_device(self, tokens: torch.Tensor) -> Any:
        logits = torch.nn.functional.one_hot(tokens.long() + 1, VOCABULARY)[None, None].bfloat16()
        return ttnn.from_torch(logits, layout=ttnn.TILE_LAYOUT, device=self.mesh_device)


@pytest.fixture
def model(mesh_device: Any) -> CountingModel:
    return CountingModel(mesh_device)


LONG = list(range(2, 72))
"""70 tokens: two chunks of 32 and a short one."""


def test_a_long_prompt_is_continued_behind_its_last_chunk(model: CountingModel) -> None:
    generator = Generator(model, prefill=True, prefill_chunk=32)  # type: ignore[arg-type]
    short, long = generator.generate([[10, 40], LONG], max_new_tokens=3)
    assert model.prefilled == [(0, 0, [10, 40]), (1, 0, LONG[:32]), (1, 32, LONG[32:64]), (1, 64, LONG[64:])]
    assert short == Generation((41, 42, 43), "length")
    assert long == Generation((72, 73, 74), "length")
    assert model.of_user(0) == [(41, 2), (42, 3)]
    assert model.of_user(1) == [(72, 70), (73, 71)]
    assert model.of_user(2) == []


def test_a_stop_token_behind_the_prompt_ends_a_text_before_any_step(model: CountingModel) -> None:
    generator = Generator(model, prefill=True)  # type: ignore[arg-type]
    stopped, other = generator.generate([[4], [30]], max_new_tokens=2, stop_tokens={5})
    assert stopped == Generation((5,), "stop")
    assert other == Generation((31, 32), "length")
    assert model.of_user(0) == []
    assert model.of_user(1) == [(31, 1)]


def test_teacher_forcing_decodes_what_is_not_prefilled(model: CountingModel) -> None:
    generator = Generator(model, prefill_chunk=32)  # type: ignore[arg-type]
    texts = [[9, 3, 77], [4], LONG]
    logits = generator.forced_logits(texts, prefilled=[1, 0, 40])
    assert [user.argmax(-1).tolist() for user in logits] == [[token + 1 for token in text] for text in texts]
    assert model.prefilled == [(0, 0, [9]), (2, 0, LONG[:32]), (2, 32, LONG[32:40])]
    assert model.of_user(0) == [(3, 1), (77, 2)]
    assert model.of_user(1) == [(4, 0)]
    assert model.of_user(2) == [(token, position) for position, token in enumerate(LONG) if position >= 40]
