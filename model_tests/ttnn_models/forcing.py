"""Teacher forcing: the logits behind each token of given texts, whatever the model would have chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from pytest_ttbringup.errors import BringupError

from .decode_state import INACTIVE
from .text_limits import check_texts

if TYPE_CHECKING:
    from .generator import Generator


def forced_logits(
    generator: Generator,
    texts: Sequence[Sequence[int]],
    *,
    prefilled: Sequence[int] | None,
    report: Callable[[str], None] | None,
) -> list[torch.Tensor]:
    """As `Generator.forced_logits`."""
    check_texts(texts, generator.model.config, users=generator.users)
    lengths = [0] * len(texts) if prefilled is None else list(prefilled)
    if len(lengths) != len(texts) or any(not 0 <= it <= len(text) for it, text in zip(lengths, texts, strict=False)):
        raise BringupError(
            f"{lengths} tokens are to be prefilled of texts with {[len(text) for text in texts]} tokens; give a "
            "number for each text, not more than it has."
        )
    forced, state = generator.next_tokens.forced(), generator.state
    prompts = {user: text[:length] for user, (text, length) in enumerate(zip(texts, lengths, strict=True)) if length}
    prefilled_rows = generator.prefilling.logits(prompts)
    rows = [list(prefilled_rows.get(user, ())) for user in range(len(texts))]
    steps = max(len(text) - length for text, length in zip(texts, lengths, strict=True))
    for step in range(steps):
        positions = [
            length + step if length + step < len(text) else INACTIVE
            for text, length in zip(texts, lengths, strict=True)
        ]
        if step == 0 or any(length + step == len(text) for text, length in zip(texts, lengths, strict=True)):
            state.write_positions(positions)
        state.write_tokens(
            [text[place] if place != INACTIVE else 0 for text, place in zip(texts, positions, strict=True)]
        )
        values = generator.model.parallelism.join(forced(), data=2)  # [1, 1, B, V]
        for user, place in enumerate(positions):
            if place != INACTIVE:
                rows[user].append(values[0, 0, user].float())
        if report is not None and (step + 1) % generator.report_every == 0:
            report(f"step {step + 1} of {steps}")
    return [torch.stack(user) for user in rows]
