"""Random weights have to make a reference worth comparing with: steady under rounding, upset by every mistake."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ttbringup.reference.capture import captured_outputs
from pytest_ttbringup.reference.generation import batch_greedy, reference_logits
from pytest_ttbringup.reference.model import BringupModel

TOKENS = 256


def choices(reference: Any, model: BringupModel) -> torch.Tensor:
    return reference_logits(reference, model.passage(TOKENS)).argmax(-1)


def agreement(reference: Any, model: BringupModel) -> float:
    return (choices(reference, model) == choices(model.reference, model)).float().mean().item()


def bfp8(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to bfp8_b along rows of 16 outputs, as TT-NN holds the transposed weight."""
    groups = weight.T.reshape(-1, 16)
    step = 2.0 ** (groups.abs().amax(1, keepdim=True).log2().floor() - 6)
    return ((groups / step).round().clamp(-127, 127) * step).reshape(weight.T.shape).T


def rounded(model: BringupModel) -> Any:
    """The reference as a device would hold it: linear weights in bfp8_b, all else and every output in bf16."""
    reference = copy.deepcopy(model.reference)
    for module in reference.modules():
        for name, weight in module.named_parameters(recurse=False):
            shown = bfp8(weight) if isinstance(module, nn.Linear) else weight.bfloat16().float()
            setattr(module, name, nn.Parameter(shown, requires_grad=False))
        if isinstance(module, (nn.Linear, nn.SiLU)) or "Norm" in type(module).__name__:
            module.register_forward_hook(lambda _module, _args, output: output.bfloat16().float())
    return reference


def test_rounding_changes_few_tokens(tiny_model: BringupModel) -> None:
    assert 0.95 <= agreement(rounded(tiny_model), tiny_model) < 1


def swap_heads(layer: Any) -> None:
    weight = layer.self_attn.o_proj.weight
    weight.copy_(torch.cat([weight[:, 32:64], weight[:, :32], weight[:, 64:]], dim=1))


def exchange_key_and_value(layer: Any) -> None:
    attention = layer.self_attn
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj


EVERYWHERE: dict[str, Callable[[Any], object]] = {
    "no attention scale": lambda layer: setattr(layer.self_attn, "scaling", 1.0),
    "no SiLU": lambda layer: setattr(layer.mlp, "act_fn", nn.Identity()),
    "no norm weight": lambda layer: layer.input_layernorm.weight.fill_(1),
    "heads swapped": swap_heads,
    "key and value exchanged": exchange_key_and_value,
}
IN_ONE_LAYER: dict[str, Callable[[Any], object]] = {
    "no attention": lambda layer: layer.self_attn.o_proj.weight.zero_(),
    "no MLP": lambda layer: layer.mlp.down_proj.weight.zero_(),
}


def mistakes(model: BringupModel) -> Iterator[tuple[str, Any]]:
    for name, make in EVERYWHERE.items():
        reference = copy.deepcopy(model.reference)
        for layer in reference.model.layers:
            make(layer)
        yield name, reference
    for index in range(model.num_layers):
        for name, make in IN_ONE_LAYER.items():
            reference = copy.deepcopy(model.reference)
            make(reference.model.layers[index])
            yield f"{name} in layer {index}", reference
    reference = copy.deepcopy(model.reference)
    reference.model.rotary_emb.inv_freq.zero_()
    yield "no rotation", reference


def test_every_mistake_changes_many_tokens(tiny_model: BringupModel) -> None:
    found = {name: agreement(reference, tiny_model) for name, reference in mistakes(tiny_model)}
    assert {name: share for name, share in found.items() if share > 0.88} == {}


def test_activations_are_of_sane_size(tiny_model: BringupModel) -> None:
    decoder = tiny_model.reference.model
    with captured_outputs([decoder.embed_tokens, *decoder.layers]) as states:
        decoder(input_ids=torch.tensor([tiny_model.passage(TOKENS)]))
    sizes = [hidden.pow(2).mean().sqrt().item() for hidden in states]
    assert all(0.8 < size < 2 for size in sizes)
    assert sizes == sorted(sizes)


def test_attention_is_neither_uniform_nor_a_single_token(tiny_model: BringupModel) -> None:
    ids = torch.tensor([tiny_model.passage(TOKENS)])
    for attention in tiny_model.reference(input_ids=ids, output_attentions=True).attentions:
        last = attention[0, :, -1]  # [H, T], all T tokens in sight
        entropy = -(last * last.clamp_min(1e-12).log()).sum(-1)
        assert 1 < entropy.mean() < 0.8 * math.log(TOKENS)


def test_greedy_text_is_readable_and_varied(tiny_model: BringupModel) -> None:
    prompts = [tiny_model.encode(prompt) for prompt in tiny_model.prompts(32)]
    texts = batch_greedy(tiny_model.reference, prompts, 24)
    assert not any(tiny_model.stop_tokens & set(text) for text in texts)
    words = "".join(tiny_model.decode(text) for text in texts)
    assert sum(not (character.isascii() and character.isprintable()) for character in words) < 0.02 * len(words)
    pairs = [pair for text in texts for pair in pairwise(text)]
    assert sum(one == other for one, other in pairs) < 0.02 * len(pairs)
    assert len({token for text in texts for token in text}) > 100


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-llama-scaled"])
def test_other_seeds_do_as_well(name: str) -> None:
    from pytest_ttbringup.reference.loading import load_model

    for seed in (0, 1, 2**32 - 1):
        model = load_model(name, seed=seed)
        assert agreement(rounded(model), model) >= 0.94
