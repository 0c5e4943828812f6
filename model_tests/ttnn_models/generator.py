"""Text for a batch of users by decode steps alone: prompts are read one token per step ("prefill by decode")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH
from .decode_state import INACTIVE, DecodeState
from .model import CausalLM

Report = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """What a user got: the new tokens, a stop token included, and whether that or the length ended them."""

    tokens: tuple[int, ...]
    ended_by: Literal["stop", "length"]


@dataclass
class _User:
    prompt: Sequence[int]
    tokens: list[int] = field(default_factory=list)
    ended_by: Literal["stop", "length"] | None = None


class Generator:
    """Runs a model for up to 32 users with texts of different lengths.

    Args:
        model: the model.
        report_every: steps between two lines of progress.
    """

    def __init__(self, model: CausalLM, *, report_every: int = 16) -> None:
        self.model = model
        self.report_every = report_every
        self.state = DecodeState(model.mesh_device)
        # A new text overwrites the cache from position 0 and never attends beyond its own position: no need to clear.
        self.kv_caches = model.new_kv_caches()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_tokens: Collection[int] = (),
        report: Report | None = None,
    ) -> list[Generation]:
        """Continue each prompt greedily.

        Args:
            prompts: token ids, one sequence for each user.
            max_new_tokens: most tokens for a user.
            stop_tokens: tokens that end a user's text.
            report: called with a line of progress now and then.

        Raises:
            BringupError: no prompt or too many, an empty one, or one too long for the KV cache.
        """
        if max_new_tokens < 1:
            raise BringupError(f"max_new_tokens = {max_new_tokens} must be at least 1.")
        self._check(prompts, extra=max_new_tokens - 1)
        users = [_User(prompt) for prompt in prompts]
        self.state.write_tokens([prompt[0] for prompt in prompts])
        self.state.write_positions([0] * len(users))
        step = 0
        while any(user.ended_by is None for user in users):
            self.model.decode_greedy(self.state, self.kv_caches)
            step += 1
            self._next_tokens(users, step, max_new_tokens, stop_tokens)
            if report is not None and step % self.report_every == 0:
                reading = sum(step < len(user.prompt) for user in users)
                ended = sum(user.ended_by is not None for user in users)
                report(f"step {step}: {reading} users reading, {len(users) - reading - ended} writing, {ended} done")
        return [Generation(tuple(user.tokens), user.ended_by or "length") for user in users]

    def _next_tokens(self, users: list[_User], step: int, max_new_tokens: int, stop_tokens: Collection[int]) -> None:
        """Take what the step wrote, and put into the state what only the host knows: prompt tokens, and who is done."""
        tokens = self.state.read_tokens()
        was_active = [user.ended_by is None for user in users]
        reading = False
        for index, user in enumerate(users):
            if user.ended_by is not None:
                continue
            if step < len(user.prompt):
                tokens[index] = user.prompt[step]
                reading = True
                continue
            user.tokens.append(tokens[index])
            if tokens[index] in stop_tokens:
                user.ended_by = "stop"
            elif len(user.tokens) == max_new_tokens:
                user.ended_by = "length"
        if reading:
            self.state.write_tokens(tokens)
        active = [user.ended_by is None for user in users]
        if active != was_active:
            self.state.write_positions([step if is_active else INACTIVE for is_active in active])

    def forced_logits(self, texts: Sequence[Sequence[int]], *, report: Report | None = None) -> list[torch.Tensor]:
        """Teacher forcing: the logits after each token of each text, whatever the model would have chosen.

        Args:
            texts: token ids, one sequence for each user.
            report: called with a line of progress now and then.

        Returns:
            For each text [tokens, V], float32; row i predicts token i + 1.

        Raises:
            BringupError: no text or too many, an empty one, or one too long for the KV cache.
        """
        self._check(texts, extra=0)
        rows: list[list[torch.Tensor]] = [[] for _ in texts]
        longest = max(len(text) for text in texts)
        self.state.write_positions([0] * len(texts))
        for step in range(longest):
            if any(len(text) == step for text in texts):
                self.state.write_positions([step if step < len(text) else INACTIVE for text in texts])
            self.state.write_tokens([text[step] if step < len(text) else 0 for text in texts])
            logits = self.model.decode(self.state, self.kv_caches)  # [1, 1, B, V]
            self.state.advance()
            values: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(logits)[0])
            for index, text in enumerate(texts):
                if step < len(text):
                    rows[index].append(values[0, 0, index].float())
            if report is not None and (step + 1) % self.report_every == 0:
                report(f"step {step + 1} of {longest}")
        return [torch.stack(user) for user in rows]

    def _check(self, texts: Sequence[Sequence[int]], *, extra: int) -> None:
        if not 1 <= len(texts) <= DECODE_BATCH:
            raise BringupError(f"{len(texts)} texts given; a batch has 1 to {DECODE_BATCH} users.")
        for index, text in enumerate(texts):
            if len(text) == 0:
                raise BringupError(f"The text of user {index} has no token; it needs at least one to start from.")
        longest = max(len(text) for text in texts) + extra
        if longest > self.model.config.max_seq_len:
            raise BringupError(
                f"The longest text needs {longest} positions; the KV cache holds max_seq_len = "
                f"{self.model.config.max_seq_len}. Shorten the text or ask for fewer new tokens."
            )
