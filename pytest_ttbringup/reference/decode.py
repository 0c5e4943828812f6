"""One decode step of the reference: every user brings a token, at a position of its own, and a history in the cache.

Shapes: B users, D hidden size, H heads, K KV heads, h head size, S slots of the history, V vocabulary, L layers.

A history is left-aligned, as TT-NN keeps it: slot p of user b holds that user's position p, and a user at position p
has slots 0 to p-1 filled; what later slots hold must not matter. All arithmetic is transformers' own. Its
`DynamicCache` appends the new token behind the S slots, while TT-NN puts it into slot p; as keys are rotated before
they are stored and the mask hides the unused slots, the order of the slots does not enter attention.
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
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class History:
    """A left-aligned KV cache.

    Attributes:
        keys, values: one [B, K, S, h] per layer.
        lengths: [B], how many slots of each user are filled.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    lengths: torch.Tensor


@dataclass(frozen=True)
class StackStep:
    """What the whole model gives at one step.

    Attributes:
        embedding: [B, D], what enters the first layer.
        hidden: one [B, D] per layer, what leaves it.
        norm: [B, D], behind the final norm.
        logits: [B, V].
        keys, values: one [B, K, h] per layer, as they go into the cache.
    """

    embedding: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    norm: torch.Tensor
    logits: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


@torch.no_grad()
def reference_rotary(
    config: LlamaConfig, query: torch.Tensor, key: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotary embedding of query [B, H, h] and key [B, K, h] at positions [B], in Hugging Face's half-split form."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    cos, sin = LlamaRotaryEmbedding(config)(query, positions[:, None])
    query, key = apply_rotary_pos_emb(query[:, :, None], key[:, :, None], cos, sin)
    return query[:, :, 0], key[:, :, 0]


def reference_decode_attention(
    reference: LlamaForCausalLM,
    layer: int,
    hidden: torch.Tensor,
    past_key: torch.Tensor,
    past_value: torch.Tensor,
    positions: torch.Tensor,
) -> LayerOutput:
    """One decode step of the attention module of a layer.

    Args:
        reference: the model.
        layer: index of the layer.
        hidden: [B, D], behind the layer's norm.
        past_key: [B, K, S, h], rotated.
        past_value: [B, K, S, h].
        positions: [B], each from 0 to S.

    Raises:
        BringupError: the shapes do not fit, or a position is outside the history.
    """
    return _run(reference, layer, hidden, (past_key, past_value), positions, attention_only=True)


def reference_decode_layer(
    reference: LlamaForCausalLM,
    layer: int,
    hidden: torch.Tensor,
    past_key: torch.Tensor,
    past_value: torch.Tensor,
    positions: torch.Tensor,
) -> LayerOutput:
    """One decode step of a whole decoder layer.

    Arguments and errors are those of `reference_decode_attention`, but `hidden` is what enters the layer.
    """
    return _run(reference, layer, hidden, (past_key, past_value), positions, attention_only=False)


@torch.no_grad()
def reference_decode_stack(
    reference: LlamaForCausalLM, tokens: torch.Tensor, history: History, positions: torch.Tensor
) -> StackStep:
    """One decode step of the whole model.

    Args:
        reference: the model.
        tokens: [B], the token each user brings.
        history: of all layers. Its `lengths` are not used: `positions` may lie before them.
        positions: [B], each from 0 to S.

    Raises:
        BringupError: the shapes do not fit, or a position is outside the history.
    """
    slots = history.keys[0].shape[2]
    mask = _visible(positions, len(tokens), slots)
    cache = cache_of(reference.config, history)
    with captured_outputs(reference.model.layers) as leaving:
        norm = reference.model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    keys, values = _content(cache)
    return StackStep(
        embedding=reference.model.embed_tokens(tokens),
        hidden=tuple(output[:, 0] for output in leaving),
        norm=norm[:, 0],
        logits=reference.lm_head(norm)[:, 0],
        keys=tuple(key[:, :, -1] for key in keys),
        values=tuple(value[:, :, -1] for value in values),
    )


@torch.no_grad()
def prefill_history(reference: LlamaForCausalLM, prompts: Sequence[Sequence[int]]) -> tuple[History, torch.Tensor]:
    """The history after every user's prompt, S the longest prompt, and the logits [B, V] of each prompt's last token.

    Raises:
        BringupError: there is no prompt, or one is empty.
    """
    from transformers import DynamicCache

    if not prompts or not all(prompts):
        raise BringupError("A prompt is empty; every prompt must have at least one token.")
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    tokens = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(list(prompt))
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    cache = DynamicCache(config=reference.config)
    hidden = reference.model(
        input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True
    ).last_hidden_state
    last = hidden[torch.arange(len(prompts)), lengths - 1]
    return History(*_content(cache), lengths), reference.lm_head(last)


def cache_of(config: LlamaConfig, history: History) -> DynamicCache:
    """A cache of transformers with the content of `history`."""
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    for layer, (key, value) in enumerate(zip(history.keys, history.values, strict=True)):
        cache.update(key, value, layer)
    return cache


def _content(cache: DynamicCache) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    layers: list[Any] = cache.layers
    return tuple(layer.keys for layer in layers), tuple(layer.values for layer in layers)


def _run(
    reference: LlamaForCausalLM,
    layer: int,
    hidden: torch.Tensor,
    past: tuple[torch.Tensor, torch.Tensor],
    positions: torch.Tensor,
    *,
    attention_only: bool,
) -> LayerOutput:
    config = reference.config
    slots = past[0].shape[2]
    expected = (len(hidden), config.num_key_value_heads, slots, config.head_dim)
    if any(part.shape != expected for part in past) or hidden.shape[1:] != (config.hidden_size,):
        raise BringupError(
            f"A decode step needs hidden states [users, {config.hidden_size}] and past keys and values [users, "
            f"{config.num_key_value_heads}, slots, {config.head_dim}]; got {list(hidden.shape)}, "
            f"{list(past[0].shape)} and {list(past[1].shape)}."
        )
    ran = run_layer(
        reference,
        layer,
        hidden[:, None],
        positions[:, None],
        attention_only=attention_only,
        past=past,
        visible=_visible(positions, len(hidden), slots),
    )
    return LayerOutput(ran.output[:, 0], ran.keys[:, :, -1], ran.values[:, :, -1])


def _visible(positions: torch.Tensor, users: int, slots: int) -> torch.Tensor:
    """[B, S + 1], True where a user may look: its filled slots, and the new token behind the last slot."""
    if positions.shape != (users,) or int(positions.min()) < 0 or int(positions.max()) > slots:
        raise BringupError(
            f"A decode step of {users} users with {slots} slots of history needs {users} positions from 0 to {slots}; "
            f"got {positions.tolist()}."
        )
    filled = torch.arange(slots) < positions[:, None]
    return torch.cat([filled, torch.ones(users, 1, dtype=torch.bool)], dim=1)
