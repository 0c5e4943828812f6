"""Text for a batch of users, each at a position of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig, sampling_of_each

from .decode_state import DecodeState
from .forcing import forced_logits
from .kv_cache import KVCache
from .model import CausalLM
from .next_tokens import NextTokens
from .prefilling import Prefilling
from .session import EndedBy, Session, User, check_new_tokens
from .text_limits import check_texts

Report = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """What a user got: the new tokens, a stop token included, and whether that or the length ended them."""

    tokens: tuple[int, ...]
    ended_by: EndedBy


class Generator:
    """Runs a model for up to 32 users of each instance, with texts of different lengths.

    Args:
        model: the model.
        prefill: read prompts by prefill, one user of each instance after the other, and not by decode steps, a token of
            each user per step ("prefill by decode").
        prefill_chunk: most tokens of a prompt that are prefilled at once, a multiple of 32; more take as many prefills
            as they need.
        trace: capture the decode step, and replay it; the device needs a `trace_region_size`.
        kv_caches: one for each layer; contiguous ones are made if none are given.
        report_every: steps between two lines of progress.

    Attributes:
        users: most texts at a time, of all instances.
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
        self.report_every = report_every
        self.state = DecodeState(model.mesh_device, model.parallelism)
        self.users = self.state.users
        # A new text overwrites the cache from position 0 and never attends beyond its own position: no need to clear.
        self.kv_caches = model.new_kv_caches() if kv_caches is None else kv_caches
        self.next_tokens = NextTokens(model, self.state, self.kv_caches, trace=trace)
        self.prefilling = Prefilling(model, self.kv_caches, longest=prefill_chunk)
        self.newest_session: Session | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        sampling: SamplingConfig | Sequence[SamplingConfig] = GREEDY,
        stop_tokens: Collection[int] = (),
        on_token: Callable[[int, int], None] | None = None,
        on_end: Callable[[int], None] | None = None,
        report: Report | None = None,
    ) -> list[Generation]:
        """Continue each prompt.

        Args:
            prompts: token ids, one sequence for each user.
            max_new_tokens: most tokens for a user.
            sampling: how tokens are chosen, for all users or for each; `next_tokens` says what the device draws.
            stop_tokens: tokens that end a user's text.
            on_token: called with a user's index and each of its new tokens, as soon as the token is there.
            on_end: called with a user's index when its text has ended.
            report: called with a line of progress now and then.

        Raises:
            BringupError: no prompt or too many, one that `Session.add` refuses, or samplings that are not one each.
        """
        check_new_tokens(max_new_tokens)
        check_texts(prompts, self.model.config, users=self.users, new_tokens=max_new_tokens)
        samplings = sampling_of_each(sampling, len(prompts))
        session = self.session(stop_tokens=stop_tokens)
        users = [
            session.add(prompt, max_new_tokens=max_new_tokens, sampling=each)
            for prompt, each in zip(prompts, samplings, strict=True)
        ]
        step = 0
        while session.users:
            for user, token, last in session.step():
                if on_token is not None:
                    on_token(user.number, token)
                if on_end is not None and last:
                    on_end(user.number)
            step += 1
            if report is not None and step % self.report_every == 0:
                report(_progress(step, users))
        return [Generation(tuple(user.tokens), user.ended_by or "length") for user in users]

    def session(self, *, stop_tokens: Collection[int] = ()) -> Session:
        """A batch that users join and leave between steps. It takes over the KV caches from earlier sessions."""
        self.newest_session = Session(self, stop_tokens=stop_tokens)
        return self.newest_session

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
            BringupError: no text or too many, one that is empty, too long for the KV cache or not of the vocabulary, or
                a prefill longer than its text.
        """
        self.newest_session = None
        return forced_logits(self, texts, prefilled=prefilled, report=report)

    def release(self) -> None:
        """Forget captured steps; the next text captures anew."""
        self.next_tokens.release()


def _progress(step: int, users: Sequence[User]) -> str:
    ended = sum(user.ended_by is not None for user in users)
    reading = sum(user.ended_by is None and user.position < len(user.prompt) for user in users)
    return f"step {step}: {reading} users reading, {len(users) - reading - ended} writing, {ended} done"
