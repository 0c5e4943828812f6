"""A batch that users join and leave between its steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig, draw

from .config import DECODE_BATCH
from .decode_state import INACTIVE
from .next_tokens import Draws
from .text_limits import check_text

if TYPE_CHECKING:
    import ttnn

    from .generator import Generator

EndedBy = Literal["stop", "length", "leave"]


@dataclass(eq=False)
class User:
    """Somebody's text, from the prompt on.

    Attributes:
        number: counts those who joined the session, from 0.
        slot: the row of the batch, and of the KV cache, while the user is in it.
        prompt: token ids.
        max_new_tokens: most tokens that are written.
        draws: how they are chosen.
        tokens: those written, a stop token included.
        ended_by: a stop token, the length, `Session.leave`; None for as long as there is more to come.
        position: of the token that the next step reads; as many tokens are in the KV cache.
    """

    number: int
    slot: int
    prompt: Sequence[int]
    max_new_tokens: int
    draws: Draws
    tokens: list[int] = field(default_factory=list)
    ended_by: EndedBy | None = None
    position: int = 0

    @property
    def reading(self) -> bool:
        """Whether the next step reads a token of the prompt that is not its last."""
        return self.position < len(self.prompt) - 1

    @property
    def next_input(self) -> int:
        """The token that the next step reads."""
        return self.prompt[self.position] if self.position < len(self.prompt) else self.tokens[-1]


class NewToken(NamedTuple):
    """What a step gave a user: a token, and whether it is the last."""

    user: User
    token: int
    last: bool


class Session:
    """Steps of up to 32 users of each instance, each of whom comes and goes when they like.

    A slot is free again as soon as its user has ended; the next one there overwrites the KV cache from position 0 and
    never attends beyond their own position. Made by `Generator.session`.

    Args:
        generator: what runs the model. Its newest session is the only one that can make steps.
        stop_tokens: tokens that end a user's text.
    """

    def __init__(self, generator: Generator, *, stop_tokens: Collection[int] = ()) -> None:
        self.generator = generator
        self.stop_tokens = frozenset(stop_tokens)
        self._slots: list[User | None] = [None] * generator.users
        self._joined = 0
        self._changed = True

    @property
    def users(self) -> list[User]:
        """Those whose text has not ended, by slot."""
        return [user for user in self._slots if user is not None]

    def add(self, prompt: Sequence[int], *, max_new_tokens: int, sampling: SamplingConfig = GREEDY) -> User:
        """Let a user join at the lowest free row of the instances in turn; the next step reads their prompt, or its
        first token.

        Args:
            prompt: token ids.
            max_new_tokens: most tokens that are written.
            sampling: how they are chosen.

        Raises:
            BringupError: all slots are taken, no token shall be written, or the prompt is empty, too long for the KV
                cache, or has a token that is not of the vocabulary.
        """
        check_new_tokens(max_new_tokens)
        check_text(prompt, self._joined, self.generator.model.config, new_tokens=max_new_tokens)
        slot = min((slot for slot, user in enumerate(self._slots) if user is None), key=_turn, default=None)
        if slot is None:
            raise BringupError(
                f"All {len(self._slots)} slots of the batch are taken. Make steps until a user has ended, or let "
                "one leave."
            )
        user = User(self._joined, slot, tuple(prompt), max_new_tokens, Draws(sampling))
        self._slots[slot] = user
        self._joined += 1
        self._changed = True
        return user

    def leave(self, user: User) -> None:
        """Let a user go before their text has ended; does nothing for one whose text has."""
        if user.ended_by is None:
            self._end(user, "leave")

    def step(self) -> list[NewToken]:
        """One decode step for everybody, after the prompts of new users are prefilled if the generator prefills.

        Returns:
            The new tokens: up to two for a user whose prompt was prefilled, none while one is
            still read by decode steps. Nothing is left to do when `users` is empty.

        Raises:
            BringupError: the generator has a newer session.
        """
        if self.generator.newest_session is not self:
            raise BringupError("The generator has begun another session, which took over its KV caches. Use that one.")
        news = self._prefill() if self.generator.prefill else []
        if self.users:
            news += self._decode()
        return news

    def _prefill(self) -> list[NewToken]:
        users = [user for user in self.users if user.position == 0]
        choose = self.generator.next_tokens.after_prefill({user.slot: user.draws for user in users})
        tokens = self.generator.prefilling.next_tokens({user.slot: user.prompt for user in users}, choose)
        for user in users:
            user.position = len(user.prompt)
        return [self._take(user, tokens[user.slot]) for user in users]

    def _decode(self) -> list[NewToken]:
        users = self.users
        step = self.generator.next_tokens.step_for([user.draws for user in users])  # may capture, and spoil the state
        if self._changed:
            self._write_users()
        if any(user.draws.on_device for user in users):
            self._write_seeds()
        logits = step()
        tokens = self.generator.state.read_tokens()
        chosen = self._chosen_by_host(users, logits)
        news = []
        override = bool(chosen)
        for user in users:
            read = user.reading
            user.position += 1
            if read:
                override = True
                continue
            token = chosen.get(user, tokens[user.slot])
            news.append(self._take(user, token))
        if override:  # the state holds what the device chose
            self._write_tokens()
        return news

    def _chosen_by_host(self, users: Sequence[User], logits: ttnn.Tensor | None) -> dict[User, int]:
        drawing = [user for user in users if user.draws.on_host and not user.reading]
        if not drawing or logits is None:
            return {}
        rows = self.generator.model.parallelism.take(logits, data=2)[0, 0].float()  # [B, V]
        return {user: draw(rows[user.slot], user.draws.sampling, user.draws.uniform()) for user in drawing}

    def _take(self, user: User, token: int) -> NewToken:
        user.tokens.append(token)
        if token in self.stop_tokens:
            self._end(user, "stop")
        elif len(user.tokens) == user.max_new_tokens:
            self._end(user, "length")
        return NewToken(user, token, last=user.ended_by is not None)

    def _end(self, user: User, by: EndedBy) -> None:
        user.ended_by = by
        self._slots[user.slot] = None
        self._changed = True

    def _write_users(self) -> None:
        """Put into the state who takes part, and where; and how their tokens are chosen."""
        self._write_tokens()
        self.generator.state.write_positions([INACTIVE if user is None else user.position for user in self._slots])
        if any(user.draws.on_device for user in self.users):
            self.generator.next_tokens.sampler.write_users(
                [GREEDY if user is None else user.draws.sampling for user in self._slots]
            )
        self._changed = False

    def _write_tokens(self) -> None:
        self.generator.state.write_tokens([0 if user is None else user.next_input for user in self._slots])

    def _write_seeds(self) -> None:
        self.generator.next_tokens.sampler.write_seeds(
            [
                user.draws.seed() if user is not None and user.draws.on_device and not user.reading else 0
                for user in self._slots
            ]
        )


def _turn(slot: int) -> tuple[int, int]:
    """In which order slots are taken: row by row, so that instances share the work, and prefill at once."""
    instance, row = divmod(slot, DECODE_BATCH)
    return row, instance


def check_new_tokens(max_new_tokens: int) -> None:
    """Refuse a text that shall get no token.

    Raises:
        BringupError: it shall.
    """
    if max_new_tokens < 1:
        raise BringupError(f"max_new_tokens = {max_new_tokens} must be at least 1.")
