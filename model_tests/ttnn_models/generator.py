"""Text for a batch of users, each at a position of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .decode_state import INACTIVE, DecodeState
from .kv_cache import KVCache
from .model import CausalLM
from .prefill_chunk import PrefillChunk, chunks_of
from .traced_step import TracedStep

Report = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """What a user got: the new tokens, a stop token included, and whether that or the length ended them."""

    tokens: tuple[int, ...]
    ended_by: Literal["stop", "length"]


@dataclass
class _User:
    prompt: Sequence[int]
    position: int = 0
    """Of the token that the next step reads; as many tokens are in the KV cache."""
    tokens: list[int] = field(default_factory=list)
    ended_by: Literal["stop", "length"] | None = None


class Generator:
    """Runs a model for up to 32 users with texts of different lengths.

    Args:
        model: the model.
        prefill: read prompts by prefill, one user after the other, and not by decode steps, a token of each user per
            step ("prefill by decode").
        prefill_chunk: most tokens of a prompt that are prefilled at once, a multiple of 32; more take as many prefills
            as they need.
        trace: capture the decode step, and replay it; the device needs a `trace_region_size`.
        kv_caches: one for each layer; contiguous ones are made if none are given.
        report_every: steps between two lines of progress.
    """

    def __init__(
        self,
        model: CausalLM,
        *,
        prefill: bool = False,
        prefill_chunk: int = 1024,
        trace: bool = False,
        kv_caches: Sequence[KVCache] | None = None,
        report_every: int = 16,
    ) -> None:
        self.model = model
        self.prefill = prefill
        self.prefill_chunk = prefill_chunk
        self.trace = trace
        self.report_every = report_every
        self.state = DecodeState(model.mesh_device, model.parallelism)
        # A new text overwrites the cache from position 0 and never attends beyond its own position: no need to clear.
        self.kv_caches = model.new_kv_caches() if kv_caches is None else kv_caches
        self._traced: dict[str, TracedStep] = {}

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
        greedy = self._step("greedy")
        if self.prefill:
            for index, user in enumerate(users):
                token = self._token_behind(user.prompt, index)
                user.position = len(user.prompt)
                _take(user, token, max_new_tokens, stop_tokens)
                if report is not None and (index + 1) % self.report_every == 0:
                    report(f"{index + 1} of {len(users)} prompts read")
        self.state.write_tokens([user.tokens[-1] if user.tokens else user.prompt[0] for user in users])
        self._write_positions(users)
        step = 0
        while any(user.ended_by is None for user in users):
            greedy()
            step += 1
            self._next_tokens(users, max_new_tokens, stop_tokens)
            if report is not None and step % self.report_every == 0:
                reading = sum(user.position < len(user.prompt) for user in users)
                ended = sum(user.ended_by is not None for user in users)
                report(f"step {step}: {reading} users reading, {len(users) - reading - ended} writing, {ended} done")
        return [Generation(tuple(user.tokens), user.ended_by or "length") for user in users]

    def _next_tokens(self, users: list[_User], max_new_tokens: int, stop_tokens: Collection[int]) -> None:
        """Take what the step wrote, and put into the state what only the host knows: prompt tokens, and who is done."""
        tokens = self.state.read_tokens()
        active = [user for user in users if user.ended_by is None]
        reading = False
        for index, user in enumerate(users):
            if user.ended_by is not None:
                continue
            user.position += 1
            if user.position < len(user.prompt):
                tokens[index] = user.prompt[user.position]
                reading = True
            else:
                _take(user, tokens[index], max_new_tokens, stop_tokens)
        if reading:
            self.state.write_tokens(tokens)
        if any(user.ended_by is not None for user in active):
            self._write_positions(users)

    def forced_logits(
        self,
        texts: Sequence[Sequence[int]],
        *,
        prefilled: Sequence[int] | None = None,
        report: Report | None = None,
    ) -> list[torch.Tensor]:
        """Teacher forcing: the logits after each token of each text, whatever the model would have chosen.

        Args:
            texts: token ids, one sequence for each user.
            prefilled: how many tokens of each text are read by prefill, the rest by decode steps; none if not given.
            report: called with a line of progress now and then.

        Returns:
            For each text [tokens, V], float32; row i predicts token i + 1.

        Raises:
            BringupError: no text or too many, an empty one, one too long for the KV cache, or a prefill longer than
                its text.
        """
        self._check(texts, extra=0)
        lengths = [0] * len(texts) if prefilled is None else list(prefilled)
        if len(lengths) != len(texts) or any(
            not 0 <= it <= len(text) for it, text in zip(lengths, texts, strict=False)
        ):
            raise BringupError(
                f"{lengths} tokens are to be prefilled of texts with {[len(text) for text in texts]} tokens; give a "
                "number for each text, not more than it has."
            )
        forced = self._step("forced")
        rows = [
            list(self._logits_of(text[:length], user)) if length else []
            for user, (text, length) in enumerate(zip(texts, lengths, strict=True))
        ]
        users = [_User(text, position=length) for text, length in zip(texts, lengths, strict=True)]
        steps = max(len(user.prompt) - user.position for user in users)
        for step in range(steps):
            reading = [user.position < len(user.prompt) for user in users]
            if step == 0 or any(user.position == len(user.prompt) for user in users):
                self.state.write_positions(
                    [user.position if reads else INACTIVE for user, reads in zip(users, reading, strict=True)]
                )
            self.state.write_tokens(
                [user.prompt[user.position] if reads else 0 for user, reads in zip(users, reading, strict=True)]
            )
            logits = forced()  # [1, 1, B, V]
            values = self.model.parallelism.join(logits, data=2)
            for index, user in enumerate(users):
                if reading[index]:
                    rows[index].append(values[0, 0, index].float())
                    user.position += 1
            if report is not None and (step + 1) % self.report_every == 0:
                report(f"step {step + 1} of {steps}")
        return [torch.stack(user) for user in rows]

    def release(self) -> None:
        """Forget captured steps; the next text captures anew."""
        for step in self._traced.values():
            step.release()
        self._traced.clear()

    def _step(self, kind: Literal["greedy", "forced"]) -> Callable[[], ttnn.Tensor | None]:
        if not self.trace:
            step = {"greedy": self.model.decode_greedy, "forced": self.model.decode_forced}[kind]
            return lambda: step(self.state, self.kv_caches)
        if kind not in self._traced:
            capture = {"greedy": TracedStep.greedy, "forced": TracedStep.forced}[kind]
            self._traced[kind] = capture(self.model, self.state, self.kv_caches)
        return self._traced[kind]

    def _token_behind(self, prompt: Sequence[int], user: int) -> int:
        """Prefill a prompt; the best next token, chosen on the device."""
        for chunk, hidden in self._prefills(prompt, user):
            if chunk.start + chunk.length == len(prompt):
                logits = self.model.last_logits(hidden, chunk)  # [1, 1, 32, V]
                tokens = self.model.lm_head.greedy(logits)  # [1, 1, 32]
                token = int(self.model.parallelism.join(tokens).flatten()[chunk.last_row_in_tile])
                ttnn.deallocate(logits)
                ttnn.deallocate(tokens)
        return token

    def _logits_of(self, prompt: Sequence[int], user: int) -> torch.Tensor:
        """Prefill a prompt; its logits [tokens, V], float32."""
        rows = []
        for chunk, hidden in self._prefills(prompt, user):
            logits = self.model.all_logits(hidden)
            rows.append(self.model.parallelism.join(logits)[0, 0, : chunk.length].float())
            ttnn.deallocate(logits)
        return torch.cat(rows)

    def _prefills(self, prompt: Sequence[int], user: int) -> Iterator[tuple[PrefillChunk, ttnn.Tensor]]:
        """Prefill a prompt; its chunks with their hidden states, each for as long as it is looked at."""
        model = self.model
        for chunk in chunks_of(model.mesh_device, model.config, prompt, user=user, longest=self.prefill_chunk):
            hidden = model.prefill(chunk, self.kv_caches)
            yield chunk, hidden
            ttnn.deallocate(hidden)
            chunk.free()

    def _write_positions(self, users: Sequence[_User]) -> None:
        self.state.write_positions([user.position if user.ended_by is None else INACTIVE for user in users])

    def _check(self, texts: Sequence[Sequence[int]], *, extra: int) -> None:
        most = self.state.users
        if not 1 <= len(texts) <= most:
            raise BringupError(f"{len(texts)} texts given; a batch has 1 to {most} users.")
        for index, text in enumerate(texts):
            if len(text) == 0:
                raise BringupError(f"The text of user {index} has no token; it needs at least one to start from.")
        longest = max(len(text) for text in texts) + extra
        if longest > self.model.config.max_seq_len:
            raise BringupError(
                f"The longest text needs {longest} positions; the KV cache holds max_seq_len = "
                f"{self.model.config.max_seq_len}. Shorten the text or ask for fewer new tokens."
            )


def _take(user: _User, token: int, max_new_tokens: int, stop_tokens: Collection[int]) -> None:
    user.tokens.append(token)
    if token in stop_tokens:
        user.ended_by = "stop"
    elif len(user.tokens) == max_new_tokens:
        user.ended_by = "length"
