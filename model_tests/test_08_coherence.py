"""Stage 8: the text by itself. It answers, does not repeat itself, and is one the reference might have written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from questions import ANSWER, QUESTION
from ttnn_models.generator import Generator

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.generation import batch_greedy, reference_logits
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("coherence")

NEW_TOKENS = 48
USERS = 8
REPEATED = 0.10
"""Most adjacent tokens that may be equal before a text counts as degenerate (the gate of tt-metal's demos)."""
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
    alike = sum(_common(ours, theirs) for ours, theirs in zip(written, expected, strict=True))
    compare.check(
        f"the reference finds the texts as likely as its own, within {SURPRISE} nats per token",
        surprise <= SURPRISE,
        f"{surprise:.3f} nats less likely; {alike} of {sum(map(len, expected))} leading tokens agree",
    )


def _repeated(tokens: Sequence[int]) -> float:
    """Share of tokens that equal the one before."""
    return sum(one == other for one, other in pairwise(tokens)) / max(len(tokens) - 1, 1)


def _common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens agree before the texts part."""
    return next(
        (place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other),
        min(len(ours), len(theirs)),
    )


def _nats(model: BringupModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Mean negative log-likelihood of an answer's tokens under the reference."""
    logits = reference_logits(model.reference, [*prompt, *answer])[len(prompt) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)))
