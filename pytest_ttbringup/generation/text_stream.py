"""Text that grows token by token, in whole characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextStream:
    """What each new token adds to a text, without special tokens.

    A token may end within a character, and how it reads may depend on those before it: such text is held back until it
    is certain. All pieces together are `tokenizer.decode(tokens, skip_special_tokens=True)`.

    Args:
        tokenizer: one with a Rust backend, as `AutoTokenizer` gives.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._tokens: list[int] = []
        self._given = ""

    def add(self, token: int) -> str:
        """The text that is certain now; empty if none is."""
        self._tokens.append(token)
        piece = self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        self._given += piece
        return piece

    def end(self) -> str:
        """What was held back: a character that the text ends within reads as a replacement character."""
        whole = str(self._tokenizer.decode(self._tokens, skip_special_tokens=True))
        rest = whole[len(self._given) :]
        self._given = whole
        return rest
