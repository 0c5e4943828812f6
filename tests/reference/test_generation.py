from __future__ import annotations

from functools import partial

import pytest
import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.generation import answer_logits, batch_greedy, greedy, reference_logits
from pytest_ttbringup.reference.model import BringupModel

# fp32, summed in another order.
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


def test_greedy_is_what_transformers_generates(tiny_model: BringupModel) -> None:
    for prompt in tiny_model.prompts(3):
        ids = tiny_model.encode(prompt)
        generated = tiny_model.reference.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids)),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=1,
        )
        text = greedy(tiny_model.reference, ids, 20)
        assert text == generated[0, len(ids) :].tolist()
        assert len(set(text)) > 5, "the text repeats itself"


def test_each_user_of_a_batch_is_as_alone(tiny_model: BringupModel) -> None:
    prompts = [tiny_model.encode(prompt) for prompt in tiny_model.prompts(32)]
    together = batch_greedy(tiny_model.reference, prompts, 12)
    assert together == [greedy(tiny_model.reference, prompt, 12) for prompt in prompts]
    assert len({tuple(text) for text in together}) > 16, "users write the same"


def test_a_text_ends_behind_a_stop_token(tiny: BringupModel) -> None:
    prompts = [tiny.encode(prompt) for prompt in tiny.prompts(4)]
    free = batch_greedy(tiny.reference, prompts, 10)
    stop = {free[0][3], free[2][0]}
    stopped = batch_greedy(tiny.reference, prompts, 10, stop=stop)
    for before, after in zip(free, stopped, strict=True):
        ends = [index for index, token in enumerate(before) if token in stop]
        assert after == (before[: ends[0] + 1] if ends else before)
    assert len(stopped[0]) <= 4
    assert len(stopped[2]) == 1
    assert greedy(tiny.reference, prompts[0], 0) == []


def test_logits_of_a_text(tiny_model: BringupModel) -> None:
    ids = tiny_model.passage(50)
    assert_close(
        reference_logits(tiny_model.reference, ids), tiny_model.reference(input_ids=torch.tensor([ids])).logits[0]
    )


@pytest.mark.parametrize(("prompt", "answer"), [(1, 1), (1, 49), (49, 1), (30, 20)])
def test_logits_of_an_answer_are_those_of_the_whole_text(tiny: BringupModel, prompt: int, answer: int) -> None:
    text = tiny.passage(prompt + answer)
    logits = answer_logits(tiny.reference, text[:prompt], text[prompt:])
    assert_close(logits, reference_logits(tiny.reference, text)[prompt - 1 : -1])


@pytest.mark.parametrize(("prompt", "answer"), [([], [1]), ([1], [])], ids=["prompt", "answer"])
def test_an_empty_prompt_or_answer(tiny: BringupModel, prompt: list[int], answer: list[int]) -> None:
    with pytest.raises(BringupError, match="both must have at least one token"):
        answer_logits(tiny.reference, prompt, answer)


def test_later_tokens_do_not_matter(tiny: BringupModel) -> None:
    ids = tiny.passage(30)
    assert_close(reference_logits(tiny.reference, ids[:20]), reference_logits(tiny.reference, ids)[:20])
    changed = [*ids[:10], ids[11], *ids[11:]]
    logits = reference_logits(tiny.reference, changed)
    assert_close(logits[:10], reference_logits(tiny.reference, ids)[:10])
    assert (logits[29] - reference_logits(tiny.reference, ids)[29]).abs().max() > 0.1
