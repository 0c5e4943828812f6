"""Which texts a batch can take: refused before anything is moved to the device."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ttbringup.errors import BringupError

from .config import ModelConfig


def check_text(text: Sequence[int], user: int, config: ModelConfig, *, new_tokens: int = 0) -> None:
    """Refuse a text of token ids that the KV cache can't hold.

    Args:
        text: what is read.
        user: whose, for the message.
        config: sizes.
        new_tokens: most tokens written behind it. The last one is not read, and takes no position.

    Raises:
        BringupError: it has no token, one that is not of the vocabulary, or too many.
    """
    if len(text) == 0:
        raise BringupError(f"The text of user {user} has no token; it needs at least one to start from.")
    stray = next((token for token in text if not 0 <= token < config.vocab_size), None)
    if stray is not None:
        raise BringupError(
            f"The text of user {user} has the token {stray}; the vocabulary has 0 to {config.vocab_size - 1}. "
            "Encode it with the model's own tokenizer."
        )
    needed = len(text) + max(new_tokens - 1, 0)
    if needed > config.max_seq_len:
        raise BringupError(
            f"The text of user {user} needs {needed} positions; the KV cache holds max_seq_len = {config.max_seq_len}. "
            "Shorten the text or ask for fewer new tokens."
        )


def check_texts(texts: Sequence[Sequence[int]], config: ModelConfig, *, users: int, new_tokens: int = 0) -> None:
    """Refuse no text, more than there are `users`, and what `check_text` refuses of each.

    Raises:
        BringupError: there is one of these; users are numbered from 0.
    """
    if not 1 <= len(texts) <= users:
        raise BringupError(f"{len(texts)} texts given; a batch has 1 to {users} users.")
    for user, text in enumerate(texts):
        check_text(text, user, config, new_tokens=new_tokens)
