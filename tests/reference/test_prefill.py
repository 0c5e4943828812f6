"""The prefill of the reference is transformers' own reading of a text, and what decode steps leave token by token."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.decode import reference_decode_attention, reference_decode_layer
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.reference.prefill import (
    StackPrefill,
    reference_prefill_attention,
    reference_prefill_layer,
    reference_prefill_stack,
)

# fp32, summed in another order.
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
TOKENS = 40
PREFILL = pytest.mark.parametrize(
    "prefill", [reference_prefill_attention, reference_prefill_layer], ids=["attention", "layer"]
)


@pytest.fixture
def text(tiny_model: BringupModel) -> list[int]:
    return tiny_model.passage(TOKENS)


@pytest.fixture
def stack(tiny_model: BringupModel, text: list[int]) -> StackPrefill:
    return reference_prefill_stack(tiny_model.reference, text)


def test_the_stack_is_transformers_reading(tiny_model: BringupModel, text: list[int], stack: StackPrefill) -> None:
    cache = DynamicCache(config=tiny_model.config)
    read = tiny_model.reference(torch.tensor([text]), past_key_values=cache, output_hidden_states=True)
    assert_close(stack.logits, read.logits[0])
    assert_close(stack.norm, read.hidden_states[-1][0])
    for ours, theirs in zip(stack.hidden[:-1], read.hidden_states[1:-1], strict=True):
        assert_close(ours, theirs[0])
    assert_close(tiny_model.reference.model.norm(stack.hidden[-1]), stack.norm)
    for keys, values, layer in zip(stack.keys, stack.values, cache.layers, strict=True):
        assert_close(keys, layer.keys[0])
        assert_close(values, layer.values[0])


def test_a_layer_alone_is_that_of_the_stack(tiny_model: BringupModel, text: list[int], stack: StackPrefill) -> None:
    entering = [tiny_model.reference.model.embed_tokens(torch.tensor(text)), *stack.hidden[:-1]]
    for index, hidden in enumerate(entering):
        alone = reference_prefill_layer(tiny_model.reference, index, hidden)
        assert_close(alone.output, stack.hidden[index])
        assert_close(alone.keys, stack.keys[index])
        assert_close(alone.values, stack.values[index])


@pytest.mark.parametrize(
    ("prefill", "decode"),
    [(reference_prefill_attention, reference_decode_attention), (reference_prefill_layer, reference_decode_layer)],
    ids=["attention", "layer"],
)
def test_the_last_token_is_a_decode_step_behind_the_others(tiny_model: BringupModel, prefill: Any, decode: Any) -> None:
    x = tiny_model.prefill_activations(TOKENS, layer=1)
    whole = prefill(tiny_model.reference, 1, x)
    past = whole.keys[None, :, :-1], whole.values[None, :, :-1]
    step = decode(tiny_model.reference, 1, x[-1:], *past, torch.tensor([TOKENS - 1]))
    assert_close(whole.output[-1:], step.output)
    assert_close(whole.keys[None, :, -1], step.keys)
    assert_close(whole.values[None, :, -1], step.values)


@PREFILL
def test_later_tokens_do_not_matter(tiny_model: BringupModel, prefill: Any) -> None:
    x = tiny_model.prefill_activations(TOKENS, layer=1)
    changed = torch.cat([x[:30], x[30:].flip(0)])
    before, after = (prefill(tiny_model.reference, 1, rows).output for rows in (x, changed))
    assert_close(before[:30], after[:30])
    assert (before[30:] - after[30:]).abs().max() > 0.1 * before.std()


@PREFILL
@pytest.mark.parametrize("shape", [(TOKENS,), (TOKENS, 64), (1, TOKENS, 128)], ids=str)
def test_shapes_that_do_not_fit(tiny: BringupModel, prefill: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(BringupError, match=r"A prefill needs hidden states \[tokens, 128\]; got \["):
        prefill(tiny.reference, 0, torch.zeros(shape))


def test_an_empty_text(tiny: BringupModel) -> None:
    with pytest.raises(BringupError, match="needs at least one token"):
        reference_prefill_stack(tiny.reference, [])
