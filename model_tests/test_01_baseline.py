"""Stage 1: the reference itself. Every later rung trusts it, so its weights, sizes and text are checked first."""

from __future__ import annotations

import pytest
import torch
from questions import ANSWER, QUESTION

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.generation import greedy, reference_logits
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("baseline")

NEW_TOKENS = 24


def test_baseline_sizes(model: BringupModel, compare: Compare) -> None:
    """The loaded model has the sizes its source states."""
    stated = vars(model.entry.attributes())
    config = model.config
    for name, value in stated.items():
        found = config.rope_parameters[name] if name.startswith("rope_") else getattr(config, name)
        compare.check(f"{name} is {value}, as the source states", found == value, f"the loaded model has {found}")


def test_baseline_weights(model: BringupModel, compare: Compare) -> None:
    """Every weight has its shape, is finite and not constant; tied weights are one tensor."""
    config, weights = model.config, dict(model.reference.named_parameters())
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    shapes = {"model.embed_tokens.weight": (config.vocab_size, hidden), "model.norm.weight": (hidden,)}
    for index in range(config.num_hidden_layers):
        shapes |= {
            f"model.layers.{index}.{name}.weight": shape
            for name, shape in {
                "self_attn.q_proj": (queries, hidden),
                "self_attn.k_proj": (keys, hidden),
                "self_attn.v_proj": (keys, hidden),
                "self_attn.o_proj": (hidden, queries),
                "mlp.gate_proj": (inner, hidden),
                "mlp.up_proj": (inner, hidden),
                "mlp.down_proj": (hidden, inner),
                "input_layernorm": (hidden,),
                "post_attention_layernorm": (hidden,),
            }.items()
        }
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    compare.check("the weights are those of the architecture", found == shapes, f"they are {found}")
    bad = [name for name, weight in weights.items() if not weight.isfinite().all() or weight.std() == 0]
    compare.check("every weight is finite and varies", not bad, f"not so: {', '.join(bad)}")
    tied = model.reference.lm_head.weight is model.reference.model.embed_tokens.weight
    compare.check("embedding and LM head are tied as configured", tied == config.tie_word_embeddings)


def test_baseline_text(model: BringupModel, compare: Compare) -> None:
    """The reference generates what its own logits say, with its KV cache and without; if it can chat, it answers."""
    prompt = model.chat(QUESTION)
    answer = greedy(model.reference, prompt, NEW_TOKENS, stop=model.stop_tokens)
    compare.check("it writes something", len(answer) > 0)
    whole = reference_logits(model.reference, [*prompt, *answer])[len(prompt) - 1 : -1]
    chosen = whole.gather(1, torch.tensor(answer)[:, None])[:, 0]
    # the two paths add in another order, which may decide between two tokens of the same score
    margin = float((whole.amax(-1) - chosen).max())
    compare.check("with and without KV cache it chooses the same tokens", margin < 1e-3, f"one is {margin:.4f} worse")
    if model.tokenizer.chat_template:
        text = model.decode(answer)
        compare.check(f"it answers {QUESTION!r} with {ANSWER}", ANSWER in text, f"it says {text!r}")
