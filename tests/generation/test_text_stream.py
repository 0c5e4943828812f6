"""Text that grows: whole characters only, and all of it in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.generation.text_stream import TextStream
from pytest_ttbringup.reference.text import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer(512)


def pieces_of(tokenizer: Any, tokens: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.add(token) for token in tokens), stream.end()]


@given(text=st.text(max_size=40))
def test_all_pieces_are_the_text(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text)["input_ids"]
    assert "".join(pieces_of(tokenizer, tokens)) == tokenizer.decode(tokens, skip_special_tokens=True)


@given(tokens=st.lists(st.integers(0, 511), max_size=30))
def test_all_pieces_of_any_tokens_are_their_text(tokenizer: Any, tokens: list[int]) -> None:
    assert "".join(pieces_of(tokenizer, tokens)) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_a_character_of_several_tokens_comes_whole(tokenizer: Any) -> None:
    tokens = tokenizer("a€b")["input_ids"]
    pieces = pieces_of(tokenizer, tokens)
    assert len(tokens) > 4, "the tiny tokenizer should have no token for the euro sign"
    assert [piece for piece in pieces if piece] == ["a", "€", "b"]


def test_half_a_character_at_the_end_is_not_swallowed(tokenizer: Any) -> None:
    tokens = tokenizer("a€")["input_ids"][:-1]
    pieces = pieces_of(tokenizer, tokens)
    assert "�" not in "".join(pieces[:-1])
    assert pieces[-1] == "�"
