"""Texts on the terminal: one as it grows, several each when it has ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_ttbringup.generation.text_stream import TextStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextPrinter:
    """Prints what is written behind prompts.

    Args:
        tokenizer: of the tokens.
        prompts: as their users gave them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
        self._prompts = list(prompts)
        self._streams = [TextStream(tokenizer) for _ in prompts]
        self._texts = [""] * len(self._prompts)
        self._alone = len(self._prompts) == 1
        self._begun = False

    def add(self, user: int, token: int) -> None:
        """A user has got a token."""
        if self._alone and not self._begun:
            self._begun = True
            _show(f"> {self._prompts[0]}\n")
        self._append(user, self._streams[user].add(token))

    def end(self, user: int) -> None:
        """A user's text has ended."""
        self._append(user, self._streams[user].end())
        if self._alone:
            _show("\n")
        else:
            _show(f"> {self._prompts[user]}\n{self._texts[user]}\n\n")

    def _append(self, user: int, piece: str) -> None:
        self._texts[user] += piece
        if self._alone:
            _show(piece)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
