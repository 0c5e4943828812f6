from __future__ import annotations

import pytest
import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import text
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel


def test_layers_by_name(tiny: BringupModel, tiny_scaled: BringupModel) -> None:
    assert [tiny.layer_index(layer) for layer in ("first", "middle", "last", 0, 3)] == [0, 2, 3, 0, 3]
    assert [tiny_scaled.layer_index(layer) for layer in ("first", "middle", "last")] == [0, 1, 2]
    assert tiny.reference_layer("last") is tiny.reference.model.layers[3]


@pytest.mark.parametrize("layer", [pytest.param(4, id="4"), pytest.param(-1, id="-1"), pytest.param("end", id="word")])
def test_no_such_layer(tiny: BringupModel, layer: int | str) -> None:
    with pytest.raises(BringupError, match=r"tiny-llama has no layer .*Choose first, middle, last, or a number from 0"):
        tiny.layer_index(layer)


def test_weights_by_name(tiny: BringupModel) -> None:
    weights = tiny.layer_weights("middle")
    assert {name: list(weight.shape) for name, weight in weights.items()} == {
        "self_attn.q_proj.weight": [128, 128],
        "self_attn.k_proj.weight": [64, 128],
        "self_attn.v_proj.weight": [64, 128],
        "self_attn.o_proj.weight": [128, 128],
        "mlp.gate_proj.weight": [256, 128],
        "mlp.up_proj.weight": [256, 128],
        "mlp.down_proj.weight": [128, 256],
        "input_layernorm.weight": [128],
        "post_attention_layernorm.weight": [128],
    }
    assert weights["mlp.up_proj.weight"].data_ptr() == tiny.reference_layer("middle").mlp.up_proj.weight.data_ptr()
    assert {name: list(weight.shape) for name, weight in tiny.weights().items()} == {
        "model.embed_tokens.weight": [512, 128],
        "model.norm.weight": [128],
        "lm_head.weight": [512, 128],
    }
    everything = {f"model.layers.{index}.{name}" for index in range(4) for name in weights} | tiny.weights().keys()
    assert everything == tiny.reference.state_dict().keys()


def test_activations_have_the_statistics_of_the_text(tiny_model: BringupModel) -> None:
    for layer in ("first", "last"):
        drawn = tiny_model.decode_activations(4096, layer=layer)
        outputs = tiny_model.reference(
            input_ids=torch.tensor([tiny_model.passage(128)]), output_hidden_states=True
        ).hidden_states
        real = outputs[tiny_model.layer_index(layer)][0, 1:]
        spread = real.std(0)
        assert ((drawn.mean(0) - real.mean(0)).abs() / spread).max() < 0.1
        assert ((drawn.std(0) / spread) - 1).abs().max() < 0.1


def test_activations_at_the_three_points(tiny: BringupModel) -> None:
    layer = tiny.reference_layer("middle")
    hidden = tiny.decode_activations(4096, layer="middle")
    behind = tiny.decode_activations(4096, layer="middle", point="attention")
    torch.testing.assert_close(layer.input_layernorm(hidden).std(0), behind.std(0), rtol=0.1, atol=0.02)
    mlp = tiny.decode_activations(4096, layer="middle", point="mlp")
    rms = layer.post_attention_layernorm.weight.pow(2).mean().sqrt()
    assert mlp.pow(2).mean().sqrt() == pytest.approx(float(rms), rel=0.1)


def test_activations_depend_on_the_seed_alone(tiny: BringupModel) -> None:
    assert tiny.decode_activations().shape == (32, 128)
    torch.manual_seed(3)
    one = tiny.decode_activations(seed=5)
    torch.manual_seed(4)
    assert torch.equal(one, tiny.decode_activations(seed=5))
    assert not torch.equal(one, tiny.decode_activations(seed=6))
    assert not torch.equal(one[0], one[1])


def test_a_random_history_is_what_attention_makes_of_activations(tiny_scaled: BringupModel) -> None:
    key, value = tiny_scaled.decode_history(40, batch=3, layer="last", seed=1)
    assert key.shape == value.shape == (3, 2, 40, 32)
    assert key.is_contiguous()
    assert value.is_contiguous()
    attention = tiny_scaled.reference_layer("last").self_attn
    # Keys of position 0 are not rotated, so their mean is the projection of the mean activation.
    mean = tiny_scaled._activation_statistics[2, "attention"].mean
    many, _ = tiny_scaled.decode_history(2, batch=20_000, layer="last", seed=1)
    expected = attention.k_proj(mean).view(2, 32)
    torch.testing.assert_close(many[:, :, 0].mean(0), expected, rtol=0, atol=0.06)
    assert (many[:, :, 1].mean(0) - expected).abs().max() > 0.15, "position 1 is not rotated"
    assert not torch.equal(key[0], key[1])


def test_prompts() -> None:
    assert len(text.PROMPTS) >= 32
    assert len(set(text.PROMPTS)) == len(text.PROMPTS)
    model = load_model("tiny-llama")
    prompts = [model.chat(prompt) for prompt in model.prompts(32)]
    assert len({len(prompt) for prompt in prompts}) >= 15
    assert model.prompts(2) == list(text.PROMPTS[:2])
    for count in (0, 33):
        with pytest.raises(BringupError, match=f"{count} prompts were asked for; there are 1 to 32"):
            model.prompts(count)


def test_the_passage(tiny: BringupModel) -> None:
    ids = tiny.passage(160)
    assert len(ids) == 160
    assert text.PASSAGE.startswith(tiny.decode(ids))
    with pytest.raises(BringupError, match=r"100000 tokens of the passage were asked for; tiny-llama makes 1 to \d+"):
        tiny.passage(100_000)


def test_text_in_and_out(tiny: BringupModel) -> None:
    for words in (*text.PROMPTS, text.PASSAGE, "Zürich, 東京\n\t\x00 \U0001f600"):
        ids = tiny.encode(words)
        assert ids[0] == 0
        assert tiny.decode(ids) == words
    assert tiny.chat("Say hello.") == tiny.encode("Say hello."), "there is no chat template"
    assert tiny.stop_tokens == {1}


def test_the_tokenizer_always_numbers_alike(tiny: BringupModel) -> None:
    assert tiny.encode("It was the best of times")[:7] == [0, 399, 287, 263, 276, 378, 267]
    assert sorted(tiny.tokenizer.get_vocab().values()) == list(range(512))


def test_a_tokenizer_that_can_not_be_made() -> None:
    for size in (100, 5000):
        with pytest.raises(ValueError, match=f"not {size}"):
            text.tiny_tokenizer(size)
