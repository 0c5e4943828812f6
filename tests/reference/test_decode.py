"""The decode step of the reference is transformers' own generation step, for each user alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import DynamicCache

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.decode import (
    History,
    prefill_history,
    reference_decode_attention,
    reference_decode_layer,
    reference_decode_stack,
    reference_rotary,
)
from pytest_ttbringup.reference.layer import LayerOutput
from pytest_ttbringup.reference.model import BringupModel

# fp32, summed in another order.
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
Step = Callable[..., LayerOutput]
SLOTS = 24


class Recorded:
    """One generation step by transformers alone: 5 users, a text of 24 tokens each, and what every module saw."""

    def __init__(self, model: BringupModel) -> None:
        reference = model.reference
        tokens = torch.randint(2, 512, (5, SLOTS + 1), generator=torch.Generator().manual_seed(7))
        self.tokens, self.positions = tokens, torch.full((5,), SLOTS)
        cache = DynamicCache(config=reference.config)
        reference(input_ids=tokens[:, :SLOTS], past_key_values=cache)
        self.past = [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers]
        self.attention: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        hooks = []
        for layer in reference.model.layers:
            hooks.append(
                layer.self_attn.register_forward_hook(
                    lambda _module, _args, kwargs, output: self.attention.append((kwargs["hidden_states"], output[0])),
                    with_kwargs=True,
                )
            )
            hooks.append(
                layer.register_forward_hook(lambda _module, args, output: self.layers.append((args[0], output)))
            )
        self.logits = reference(input_ids=tokens[:, SLOTS:], past_key_values=cache).logits[:, 0]
        for hook in hooks:
            hook.remove()
        self.new = [(layer.keys[:, :, SLOTS], layer.values[:, :, SLOTS]) for layer in cache.layers]


@pytest.fixture
def recorded(tiny_model: BringupModel) -> Recorded:
    return Recorded(tiny_model)


def test_attention_is_that_of_a_generation_step(tiny_model: BringupModel, recorded: Recorded) -> None:
    for index in range(tiny_model.num_layers):
        hidden, expected = recorded.attention[index]
        step = reference_decode_attention(
            tiny_model.reference, index, hidden[:, 0], *recorded.past[index], recorded.positions
        )
        assert_close(step.output, expected[:, 0])
        assert_close(step.keys, recorded.new[index][0])
        assert_close(step.values, recorded.new[index][1])


def test_a_layer_is_that_of_a_generation_step(tiny_model: BringupModel, recorded: Recorded) -> None:
    for index in range(tiny_model.num_layers):
        hidden, expected = recorded.layers[index]
        step = reference_decode_layer(
            tiny_model.reference, index, hidden[:, 0], *recorded.past[index], recorded.positions
        )
        assert_close(step.output, expected[:, 0])
        assert_close(step.keys, recorded.new[index][0])
        assert_close(step.values, recorded.new[index][1])


def test_the_stack_is_that_of_a_generation_step(tiny_model: BringupModel, recorded: Recorded) -> None:
    history = History(*zip(*recorded.past, strict=True), recorded.positions)
    step = reference_decode_stack(tiny_model.reference, recorded.tokens[:, SLOTS], history, recorded.positions)
    assert_close(step.logits, recorded.logits)
    assert_close(step.embedding, recorded.layers[0][0][:, 0])
    for index in range(tiny_model.num_layers):
        assert_close(step.hidden[index], recorded.layers[index][1][:, 0])
        assert_close(step.keys[index], recorded.new[index][0])
        assert_close(step.values[index], recorded.new[index][1])
    assert_close(tiny_model.reference.lm_head(step.norm), step.logits)


@pytest.mark.parametrize("step", [reference_decode_attention, reference_decode_layer], ids=["attention", "layer"])
def test_users_at_different_positions_are_as_alone(tiny_model: BringupModel, step: Step) -> None:
    hidden = tiny_model.decode_activations(6, layer=1)
    key, value = tiny_model.decode_history(SLOTS, 6, layer=1)
    positions = torch.tensor([0, 1, 23, 24, 7, 12])
    together = step(tiny_model.reference, 1, hidden, key, value, positions)
    for user, position in enumerate(positions.tolist()):
        one = slice(user, user + 1)
        # Only the filled slots, so nothing has to be masked.
        alone = step(
            tiny_model.reference,
            1,
            hidden[one],
            key[one, :, :position],
            value[one, :, :position],
            positions[one],
        )
        for part in range(3):
            assert_close(together[part][one], alone[part])


def test_slots_behind_a_position_do_not_matter(tiny: BringupModel) -> None:
    hidden = tiny.decode_activations(4)
    key, value = tiny.decode_history(SLOTS, 4)
    positions = torch.tensor([3, 9, 15, 20])
    before = reference_decode_attention(tiny.reference, 0, hidden, key, value, positions)
    stale = torch.arange(SLOTS) >= positions[:, None]
    key, value = (torch.where(stale[:, None, :, None], 1e3, past) for past in (key, value))
    after = reference_decode_attention(tiny.reference, 0, hidden, key, value, positions)
    assert torch.equal(before.output, after.output)


class Inputs:
    """A step of 4 users; each control changes one thing."""

    def __init__(self, model: BringupModel) -> None:
        self.hidden = model.decode_activations(4)
        self.key, self.value = model.decode_history(SLOTS, 4)
        self.positions = torch.tensor([5, 11, 17, 23])

    def exchange_key_and_value(self) -> None:
        self.key, self.value = self.value, self.key

    def position_off_by_one(self) -> None:
        self.positions = self.positions + 1

    def stale_slot(self) -> None:
        self.key[2, :, 16] = self.key[2, :, 17]

    def swapped_heads(self) -> None:
        self.key = self.key.flip(1)

    def shifted_user(self) -> None:
        self.value = self.value.roll(1, 0)


@pytest.mark.parametrize(
    "control", ["exchange_key_and_value", "position_off_by_one", "stale_slot", "swapped_heads", "shifted_user"]
)
@pytest.mark.parametrize("step", [reference_decode_attention, reference_decode_layer], ids=["attention", "layer"])
def test_wrong_inputs_give_another_output(tiny: BringupModel, step: Step, control: str) -> None:
    def run(inputs: Inputs) -> LayerOutput:
        return step(tiny.reference, 0, inputs.hidden, inputs.key, inputs.value, inputs.positions)

    right, inputs = run(Inputs(tiny)), Inputs(tiny)
    getattr(inputs, control)()
    wrong = run(inputs)
    assert (right.output - wrong.output).abs().max() > 0.05 * right.output.std()
    if control == "position_off_by_one":
        assert (right.keys - wrong.keys).abs().max() > 0.1 * right.keys.std(), "keys are rotated to their position"
        assert torch.equal(right.values, wrong.values), "values are not rotated"


def test_rotary_is_that_of_the_model(tiny_model: BringupModel) -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    generator = torch.Generator().manual_seed(2)
    query, key = torch.randn(5, 4, 32, generator=generator), torch.randn(5, 2, 32, generator=generator)
    positions = torch.tensor([0, 1, 31, 200, 511])
    ours = reference_rotary(tiny_model.config, query, key, positions)
    for user, position in enumerate(positions.tolist()):
        cos, sin = tiny_model.reference.model.rotary_emb(query, torch.tensor([[position]]))
        expected = apply_rotary_pos_emb(query[user, None, :, None], key[user, None, :, None], cos, sin)
        for part in range(2):
            assert_close(ours[part][user], expected[part][0, :, 0])
    assert torch.equal(ours[0][0], query[0]), "position 0 rotates by nothing"
    late = reference_rotary(tiny_model.config, query, key, positions + 1)
    assert (ours[0] - late[0]).abs().max() > 0.3


def test_rotary_scaling_shows(tiny: BringupModel, tiny_scaled: BringupModel) -> None:
    query = torch.ones(1, 4, 32)
    positions = torch.tensor([300])
    plain, scaled = (reference_rotary(model.config, query, query, positions)[0] for model in (tiny, tiny_scaled))
    assert (plain - scaled).abs().max() > 0.5
    # Llama 3 leaves wavelengths below 128 / 4 alone: those of the first two of 16 frequencies are 6.3 and 11.2.
    assert_close(plain[..., :2], scaled[..., :2])


def test_prefill_gives_each_users_own_history(tiny_model: BringupModel) -> None:
    prompts = [tiny_model.encode(prompt) for prompt in tiny_model.prompts(6)]
    history, logits = prefill_history(tiny_model.reference, prompts)
    assert history.lengths.tolist() == [len(prompt) for prompt in prompts]
    for user, prompt in enumerate(prompts):
        cache = DynamicCache(config=tiny_model.config)
        alone = tiny_model.reference(input_ids=torch.tensor([prompt]), past_key_values=cache).logits[0, -1]
        assert_close(logits[user], alone)
        for index, layer in enumerate(cache.layers):
            assert_close(history.keys[index][user, :, : len(prompt)], layer.keys[0])
            assert_close(history.values[index][user, :, : len(prompt)], layer.values[0])


def test_a_step_after_prefill_is_the_next_row_of_the_text(tiny_model: BringupModel) -> None:
    ids = tiny_model.passage(40)
    lengths = [39, 12, 1]
    history, _ = prefill_history(tiny_model.reference, [ids[:length] for length in lengths])
    tokens = torch.tensor([ids[length] for length in lengths])
    step = reference_decode_stack(tiny_model.reference, tokens, history, history.lengths)
    text = tiny_model.reference(input_ids=torch.tensor([ids])).logits[0]
    assert_close(step.logits, text[lengths])
    with pytest.raises(AssertionError):
        assert_close(step.logits, text[[length - 1 for length in lengths]])


@pytest.mark.parametrize(
    "positions",
    [
        pytest.param([0, 25], id="beyond"),
        pytest.param([-1, 2], id="negative"),
        pytest.param([1, 2, 3], id="too many"),
    ],
)
def test_positions_outside_the_history(tiny: BringupModel, positions: list[int]) -> None:
    hidden = tiny.decode_activations(2)
    with pytest.raises(BringupError, match="needs 2 positions from 0 to 24; got"):
        reference_decode_attention(tiny.reference, 0, hidden, *tiny.decode_history(SLOTS, 2), torch.tensor(positions))


def test_shapes_that_do_not_fit(tiny: BringupModel) -> None:
    hidden, positions = tiny.decode_activations(2), torch.tensor([1, 2])
    key, value = tiny.decode_history(SLOTS, 2)
    for arguments in ((hidden[:, :64], key, value), (hidden, key[:1], value), (hidden, key, value[..., :16])):
        with pytest.raises(BringupError, match="A decode step needs hidden states"):
            reference_decode_attention(tiny.reference, 0, *arguments, positions)


def test_an_empty_prompt(tiny: BringupModel) -> None:
    for prompts in ([], [[1], []]):
        with pytest.raises(BringupError, match="at least one token"):
            prefill_history(tiny.reference, prompts)
