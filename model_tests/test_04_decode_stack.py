"""Stage 4: all decoder layers and the final norm, compared after every layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn
from decode_inputs import decode_state, write_history
from ttnn_models.model import CausalLM

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import prefill_history, reference_decode_stack
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("decode stack")


def test_decode_stack(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, progress: Callable[[str], None]
) -> None:
    """One step behind 32 prompts of different lengths, whose past the reference computed."""
    prompts = [model.encode(prompt) for prompt in model.prompts()]
    history, logits = prefill_history(model.reference, prompts)
    tokens = logits.argmax(-1)
    expected = reference_decode_stack(model.reference, tokens, history, history.lengths)

    caches = causal_lm.new_kv_caches()
    for cache, keys, values in zip(caches, history.keys, history.values, strict=True):
        write_history(cache, keys, values, causal_lm.config.max_seq_len)
    state = decode_state(causal_lm.mesh_device, history.lengths, tokens)
    x = causal_lm.embedding.decode(state.tokens)
    layers = causal_lm.decoder.decode_layers(
        x,
        positions=state.positions,
        rotary_tables=causal_lm.rotary.decode_tables(state.rotary_positions),
        kv_caches=caches,
    )
    for number, (hidden, reference) in enumerate(zip(layers, expected.hidden, strict=True), start=1):
        compare(reference, hidden, name=f"decode_stack after layer {number}", axes=(None, None, "user", "dim"))
        progress(f"layer {number} of {len(expected.hidden)} compared")
    norm = causal_lm.decoder.norm.decode(hidden)
    compare(expected.norm, norm, name="decode_stack after the final norm", axes=(None, None, "user", "dim"))
    compare(
        expected.logits, causal_lm.lm_head.decode(norm), name="decode_stack logits", axes=(None, None, "user", "token")
    )


def test_decode_stack_keeps_its_input(model: BringupModel, causal_lm: CausalLM, compare: Compare) -> None:
    """A second run on the same state gives the same: no step leaves anything behind but the cache row it wrote."""
    prompts = [model.encode(prompt) for prompt in model.prompts()]
    state = decode_state(
        causal_lm.mesh_device,
        torch.zeros(len(prompts), dtype=torch.long),
        torch.tensor([prompt[0] for prompt in prompts]),
    )
    caches = causal_lm.new_kv_caches()
    first, second = (ttnn.to_torch(causal_lm.decode(state, caches)) for _ in range(2))
    compare.check("two runs of one step are equal", torch.equal(first, second))
