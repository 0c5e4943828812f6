"""A prefill of the reference: all tokens of one user at once, each attending to itself and those before it.

Shapes: S tokens, D hidden size, K KV heads, h head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.capture import captured_outputs
from pytest_ttbringup.reference.layer import LayerOutput, run_layer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class StackPrefill:
    """What the whole model gives.

    Attributes:
        hidden: one [S, D] per layer, what leaves it.
        norm: [S, D], behind the final norm.
        logits: [S, V].
        keys, values: one [K, S, h] per layer, as they go into the cache.
    """

    hidden: tuple[torch.Tensor, ...]
    norm: torch.Tensor
    logits: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


def reference_prefill_attention(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor) -> LayerOutput:
    """The attention module of a layer, for `hidden` [S, D] (behind the layer's norm) at positions 0 to S - 1.

    Raises:
        BringupError: `hidden` has another shape.
    """
    return _run(reference, layer, hidden, attention_only=True)


def reference_prefill_layer(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor) -> LayerOutput:
    """A whole decoder layer, for `hidden` [S, D] (what enters it) at positions 0 to S - 1.

    Raises:
        BringupError: `hidden` has another shape.
    """
    return _run(reference, layer, hidden, attention_only=False)


@torch.no_grad()
def reference_prefill_stack(reference: LlamaForCausalLM, tokens: Sequence[int]) -> StackPrefill:
    """The whole model, for a text.

    Raises:
        BringupError: the text is empty.
    """
    from transformers import DynamicCache

    if not tokens:
        raise BringupError("The text is empty; a prefill needs at least one token.")
    cache = DynamicCache(config=reference.config)
    with captured_outputs(reference.model.layers) as leaving:
        norm = reference.model(
            input_ids=torch.tensor([list(tokens)]), past_key_values=cache, use_cache=True
        ).last_hidden_state
    layers: list[Any] = cache.layers
    return StackPrefill(
        hidden=tuple(output[0] for output in leaving),
        norm=norm[0],
        logits=reference.lm_head(norm)[0],
        keys=tuple(layer.keys[0] for layer in layers),
        values=tuple(layer.values[0] for layer in layers),
    )


def _run(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor, *, attention_only: bool) -> LayerOutput:
    size = reference.config.hidden_size
    if hidden.dim() != 2 or hidden.shape[1] != size:
        raise BringupError(f"A prefill needs hidden states [tokens, {size}]; got {list(hidden.shape)}.")
    positions = torch.arange(len(hidden))[None]
    ran = run_layer(reference, layer, hidden[None], positions, attention_only=attention_only)
    return LayerOutput(*(batch[0] for batch in ran))
