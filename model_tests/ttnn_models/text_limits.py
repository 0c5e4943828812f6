"""Which texts a batch can take: refused before anything is moved to the device."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, ModelConfig


def check_count(texts: int) -> None:
    """Refuse more texts than there are users, and none.

    Raises:
        BringupError: there are.
    """
    if not 1 <= texts <= DECODE_BATCH:
        raise BringupError(f"{texts} texts given; a batch has 1 to {DECODE_BATCH} users.")


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


def check_texts(texts: Sequence[Sequence[int]], config: ModelConfig, *, new_tokens: int = 0) -> None:
    """`check_count` and `check_text` for a whole batch, whose users are numbered from 0."""
    check_count(len(texts))
    for user, text in enumerate(texts):
        check_text(text, user, config, new_tokens=new_tokens)
