"""Stage 4: all decoder layers and the final norm, compared after every layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from decode_inputs import decode_state, prompts_for, write_history
from ttnn_models.model import CausalLM

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import prefill_history, reference_decode_stack
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("decode stack")


def test_decode_stack(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, progress: Callable[[str], None]
) -> None:
    """One step behind 32 prompts of different lengths, whose past the reference computed."""
    prompts = [model.encode(prompt) for prompt in prompts_for(model, causal_lm.config.users)]
    history, logits = prefill_history(model.reference, prompts)
    tokens = logits.argmax(-1)
    expected = reference_decode_stack(model.reference, tokens, history, history.lengths)

    caches = causal_lm.new_kv_caches()
    for cache, keys, values in zip(caches, history.keys, history.values, strict=True):
        write_history(cache, keys, values, causal_lm.config.max_seq_len)
    parallelism = causal_lm.parallelism
    state = decode_state(causal_lm.mesh_device, history.lengths, tokens, parallelism=parallelism)
    x = causal_lm.embedding.decode(state.tokens)
    layers = causal_lm.decoder.decode_layers(
        x,
        positions=state.positions,
        rotary_tables=causal_lm.rotary.decode_tables(state.rotary_positions),
        kv_caches=caches,
    )
    for number, (hidden, reference) in enumerate(zip(layers, expected.hidden, strict=True), start=1):
        name = f"decode_stack after layer {number}"
        spread = parallelism.spread("residual", "residual")
        compare(reference, hidden, name=name, axes=(None, None, "user", "dim"), spread=spread)
        progress(f"layer {number} of {len(expected.hidden)} compared")
    norm = causal_lm.decoder.norm.decode(hidden)
    name, spread = "decode_stack after the final norm", parallelism.spread("residual", "whole")
    compare(expected.norm, norm, name=name, axes=(None, None, "user", "dim"), spread=spread)
    logits = causal_lm.lm_head.decode(norm)
    compare(
        expected.logits,
        logits,
        name="decode_stack logits",
        axes=(None, None, "user", "token"),
        max_offset_error=None,  # as in stage 5
        spread=spread,
    )


def test_decode_stack_keeps_its_input(model: BringupModel, causal_lm: CausalLM, compare: Compare) -> None:
    """A second run on the same state gives the same: no step leaves anything behind but the cache row it wrote."""
    prompts = [model.encode(prompt) for prompt in prompts_for(model, causal_lm.config.users)]
    state = decode_state(
        causal_lm.mesh_device,
        torch.zeros(len(prompts), dtype=torch.long),
        torch.tensor([prompt[0] for prompt in prompts]),
        parallelism=causal_lm.parallelism,
    )
    caches = causal_lm.new_kv_caches()
    first, second = (causal_lm.parallelism.join(causal_lm.decode(state, caches), data=2) for _ in range(2))
    compare.check("two runs of one step are equal", torch.equal(first, second))
