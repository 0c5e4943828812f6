"""Stage 1: the reference itself. Every later rung trusts it, so its weights, sizes and text are checked first."""

from __future__ import annotations

import pytest
import torch
from questions import ANSWER, QUESTION

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.baseline import baseline_checks
from pytest_ttbringup.reference.generation import answer_logits, greedy
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("baseline")

NEW_TOKENS = 24


def test_baseline_attributes(model: BringupModel, compare: Compare) -> None:
    """Sizes, shapes, values, tied weights and tokenizer are what the model's source states."""
    for found in baseline_checks(model):
        compare.check(found.name, found.passed, str(found))


def test_baseline_text(model: BringupModel, compare: Compare) -> None:
    """The reference generates what its own logits say, with its KV cache and without; if it can chat, it answers."""
    prompt = model.chat(QUESTION)
    answer = greedy(model.reference, prompt, NEW_TOKENS, stop=model.stop_tokens)
    compare.check("it writes something", len(answer) > 0)
    whole = answer_logits(model.reference, prompt, answer)
    chosen = whole.gather(1, torch.tensor(answer)[:, None])[:, 0]
    # the two paths add in another order, which may decide between two tokens of the same score
    margin = float((whole.amax(-1) - chosen).max())
    compare.check("with and without KV cache it chooses the same tokens", margin < 1e-3, f"one is {margin:.4f} worse")
    if model.tokenizer.chat_template:
        text = model.decode(answer)
        compare.check(f"it answers {QUESTION!r} with {ANSWER}", ANSWER in text, f"it says {text!r}")
