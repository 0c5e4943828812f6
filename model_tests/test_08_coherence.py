"""Stage 8: the text by itself. It answers, does not repeat itself, and is one the reference might have written.

Whether the reference might have written it is judged by the likelihood it gives to the text, not by how many tokens
agree: two greedy texts part at the first near tie, and say different things with equal right from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from questions import ANSWER, QUESTION
from ttnn_models.generator import Generator

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.generation import answer_logits, batch_greedy
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("coherence")

NEW_TOKENS = 48
USERS = 8
REPEATED = 0.10
"""Most adjacent tokens that may be equal before a text counts as degenerate (the gate of tt-metal's demos)."""
PERIODS = range(2, 9)
LOOPING = 0.50
"""Most tokens that may equal the one 2 to 8 places before: more, and most of the text is a loop. Below that, prose does
it too: in a list every other token is a comma."""
SURPRISE = 0.10
"""Most nats per token by which the reference may find TT-NN's text less likely than its own."""


def test_coherence(
    model: BringupModel, generator: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    questions = [QUESTION, *model.prompts(USERS)[1:]]
    prompts = [model.chat(question) for question in questions]
    written = [
        list(user.tokens)
        for user in generator.generate(
            prompts, max_new_tokens=NEW_TOKENS, stop_tokens=model.stop_tokens, report=progress
        )
    ]
    expected = batch_greedy(model.reference, prompts, NEW_TOKENS, stop=model.stop_tokens)
    texts = [model.decode(tokens) for tokens in written]

    for question, text, reference in zip(questions, texts, map(model.decode, expected), strict=True):
        compare.text(question, text, reference)
    for user, (ours, theirs) in enumerate(zip(written, expected, strict=True)):
        limit = max(REPEATED, _repeated(theirs))
        compare.check(
            f"user {user} does not repeat itself", _repeated(ours) <= limit, f"{_repeated(ours):.0%}: {texts[user]!r}"
        )
        limit = max(LOOPING, looping(theirs))
        if looping(ours) > limit:
            behind = (parting(ours, theirs), first_round(ours))
            limit = max(limit, *(looping(_continued(model, prompts[user], ours[:kept])) for kept in behind))
        compare.check(
            f"user {user} does not go round in a loop", looping(ours) <= limit, f"{looping(ours):.0%}: {texts[user]!r}"
        )
    answers = ANSWER in model.decode(expected[0])
    compare.check(
        f"{QUESTION!r} is answered with {ANSWER} as by the reference",
        (ANSWER in texts[0]) == answers,
        f"it says {texts[0]!r}",
    )
    surprise = sum(
        _nats(model, prompt, ours) - _nats(model, prompt, theirs)
        for prompt, ours, theirs in zip(prompts, written, expected, strict=True)
    ) / len(prompts)
    compare.check(
        f"the reference finds the texts as likely as its own, within {SURPRISE} nats per token",
        surprise <= SURPRISE,
        f"{surprise:.3f} nats less likely",
    )


def _continued(model: BringupModel, prompt: Sequence[int], kept: Sequence[int]) -> list[int]:
    """A text's first tokens, and what the reference writes behind them.

    Texts part where two tokens are nearly as likely, and behind the other one a small model may well go round by
    itself: SmolLM2, asked for words that rhyme with night, does so if it begins with "A" and not with "Night".
    """
    left = NEW_TOKENS - len(kept)
    more = batch_greedy(model.reference, [[*prompt, *kept]], left, stop=model.stop_tokens)[0] if left > 0 else []
    return [*kept, *more]


def parting(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Tokens up to the first that differs from the reference's."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place + 1 for place, (one, other) in pairs if one != other), len(theirs))


def first_round(tokens: Sequence[int]) -> int:
    """Tokens up to the end of a loop's first round, which nothing repeats yet: texts may part more than once."""
    period = max(PERIODS, key=lambda it: _repeated(tokens, it))
    rounds = range(len(tokens) - 2 * period + 1)
    starts = (at for at in rounds if tokens[at : at + period] == tokens[at + period : at + 2 * period])
    return next(starts, len(tokens) - period) + period


def _repeated(tokens: Sequence[int], period: int = 1) -> float:
    """Share of tokens that equal the one `period` places before."""
    repeats = sum(one == other for one, other in zip(tokens, tokens[period:], strict=False))
    return repeats / max(len(tokens) - 1, 1)


def looping(tokens: Sequence[int]) -> float:
    """Greatest share of tokens that equal the one 2 to 8 places before: near 1 for a text that is one loop."""
    return max(_repeated(tokens, period) for period in PERIODS)


def _nats(model: BringupModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Mean negative log-likelihood of an answer's tokens under the reference."""
    logits = answer_logits(model.reference, prompt, answer)
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)))
