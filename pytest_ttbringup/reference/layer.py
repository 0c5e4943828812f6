"""One layer of the reference alone, or its attention: transformers' modules, with the mask and cache they expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class LayerOutput(NamedTuple):
    """What attention or a layer gives: for a decode step by user, for a prefill by token.

    Shapes: B users, S tokens, D hidden size, K KV heads, h head size.

    Attributes:
        output: [B, D], or [S, D] of a prefill.
        keys: [B, K, h], or [K, S, h]: rotated, as they go into the cache.
        values: [B, K, h], or [K, S, h], as they go into the cache.
    """

    output: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


@torch.no_grad()
def run_layer(
    reference: LlamaForCausalLM,
    layer: int,
    hidden: torch.Tensor,
    positions: torch.Tensor,
    *,
    attention_only: bool,
    past: tuple[torch.Tensor, torch.Tensor] | None = None,
    visible: torch.Tensor | None = None,
) -> LayerOutput:
    """Run a decoder layer or its attention module on new tokens, behind a past if there is one.

    Shapes: B users, T new tokens of each, S slots of the past.

    Args:
        reference: the model.
        layer: index of the layer.
        hidden: [B, T, D], what enters the module.
        positions: [B, T], of the new tokens.
        attention_only: run the attention module, and not the whole layer.
        past: keys and values, each [B, K, S, h], keys rotated; none if not given.
        visible: [B, S + T], True where a user may look, besides being causal; everywhere if not given.

    Returns:
        The output [B, T, D], and keys and values of past and new tokens, each [B, K, S + T, h].
    """
    from transformers import DynamicCache
    from transformers.masking_utils import create_causal_mask

    cache = DynamicCache(config=reference.config)
    if past is not None:
        cache.update(*past, layer)
    mask = create_causal_mask(
        config=reference.config,
        inputs_embeds=hidden,
        attention_mask=visible,
        past_key_values=cache,
        position_ids=positions,
        layer_idx=layer,
    )
    module: Any = reference.model.layers[layer]
    output = (module.self_attn if attention_only else module)(
        hidden,
        position_embeddings=reference.model.rotary_emb(hidden, position_ids=positions),
        attention_mask=mask,
        past_key_values=cache,
    )
    cached: Any = cache.layers[layer]
    return LayerOutput(output[0] if attention_only else output, cached.keys, cached.values)
