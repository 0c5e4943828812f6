"""A prefill of the reference: all tokens of one user at once, each attending to itself and those before it.

Shapes: S tokens, D hidden size, K KV heads, h head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.capture import captured_outputs

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class LayerPrefill(NamedTuple):
    """What attention or a layer gives.

    Attributes:
        output: [S, D].
        keys: [K, S, h], rotated, as they go into the cache.
        values: [K, S, h], as they go into the cache.
    """

    output: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


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


def reference_prefill_attention(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor) -> LayerPrefill:
    """The attention module of a layer, for `hidden` [S, D] (behind the layer's norm) at positions 0 to S - 1.

    Raises:
        BringupError: `hidden` has another shape.
    """
    return _run(reference, layer, hidden, reference.model.layers[layer].self_attn)


def reference_prefill_layer(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor) -> LayerPrefill:
    """A whole decoder layer, for `hidden` [S, D] (what enters it) at positions 0 to S - 1.

    Raises:
        BringupError: `hidden` has another shape.
    """
    return _run(reference, layer, hidden, reference.model.layers[layer])


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


@torch.no_grad()
def _run(reference: LlamaForCausalLM, layer: int, hidden: torch.Tensor, module: torch.nn.Module) -> LayerPrefill:
    from transformers import DynamicCache
    from transformers.masking_utils import create_causal_mask

    config = reference.config
    if hidden.dim() != 2 or hidden.shape[1] != config.hidden_size:
        raise BringupError(f"A prefill needs hidden states [tokens, {config.hidden_size}]; got {list(hidden.shape)}.")
    x = hidden[None]
    positions = torch.arange(len(hidden))[None]
    cache = DynamicCache(config=config)
    mask = create_causal_mask(
        config=config,
        inputs_embeds=x,
        attention_mask=None,
        past_key_values=cache,
        position_ids=positions,
        layer_idx=layer,
    )
    output = module(
        x,
        position_embeddings=reference.model.rotary_emb(x, position_ids=positions),
        attention_mask=mask,
        past_key_values=cache,
    )
    output = output[0] if isinstance(output, tuple) else output
    cached: Any = cache.layers[layer]
    return LayerPrefill(output[0], cached.keys[0], cached.values[0])
