"""A model to bring up: the Hugging Face reference, its tokenizer, and what the ladder asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import text
from pytest_ttbringup.reference.activations import ActivationStatistics, Point, measure_activations
from pytest_ttbringup.reference.catalog import ModelEntry
from pytest_ttbringup.reference.decode import reference_rotary

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

LayerKey = Literal["first", "middle", "last"] | int

PASSAGE_TOKENS = 128  # of `text.PASSAGE`, read to measure activations


@dataclass(frozen=True, eq=False)
class BringupModel:
    """A loaded model.

    Attributes:
        entry: where it came from.
        reference: `LlamaForCausalLM` on the CPU, fp32, eval, without gradients.
        tokenizer: the model's own.
        seed: of random weights, and the default for random inputs.
    """

    entry: ModelEntry
    reference: LlamaForCausalLM = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    seed: int

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def config(self) -> LlamaConfig:
        return self.reference.config

    @property
    def num_layers(self) -> int:
        return self.config.num_hidden_layers

    def layer_index(self, layer: LayerKey) -> int:
        """The index of a layer: itself, or of the first, middle (half of the number, rounded down) or last one.

        Raises:
            BringupError: there is no such layer.
        """
        index = (
            {"first": 0, "middle": self.num_layers // 2, "last": self.num_layers - 1}.get(layer, -1)
            if isinstance(layer, str)
            else layer
        )
        if not 0 <= index < self.num_layers:
            raise BringupError(
                f"{self.name} has no layer {layer!r}. Choose first, middle, last, or a number from 0 to "
                f"{self.num_layers - 1}."
            )
        return index

    def reference_layer(self, layer: LayerKey) -> LlamaDecoderLayer:
        """The reference's decoder layer, with `.self_attn`, `.mlp`, `.input_layernorm`, `.post_attention_layernorm`."""
        found: LlamaDecoderLayer = self.reference.model.layers[self.layer_index(layer)]
        return found

    def layer_weights(self, layer: LayerKey) -> dict[str, torch.Tensor]:
        """The weights of a layer (fp32, not copied) by their names within it: `self_attn.q_proj.weight` [Hh, D], …"""
        return dict(self.reference_layer(layer).state_dict())

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights outside the layers (fp32, not copied), by the names of `LlamaForCausalLM`.

        They are `model.embed_tokens.weight` [V, D], `model.norm.weight` [D] and `lm_head.weight` [V, D].
        """
        model = self.reference.model
        return {
            "model.embed_tokens.weight": model.embed_tokens.weight.detach(),
            "model.norm.weight": model.norm.weight.detach(),
            "lm_head.weight": self.reference.lm_head.weight.detach(),
        }

    def decode_activations(
        self, batch: int = 32, *, layer: LayerKey = "first", point: Point = "layer", seed: int | None = None
    ) -> torch.Tensor:
        """Random activations [batch, D] in fp32, with the mean and spread of every channel that `text.PASSAGE` gives.

        Args:
            batch: number of users.
            layer: which layer.
            point: `layer` for what enters it, `attention` or `mlp` for what enters that module behind its norm.
            seed: the model's if None.
        """
        statistics = self._activation_statistics[self.layer_index(layer), point]
        return statistics.draw(batch, self.seed if seed is None else seed)

    def prefill_activations(
        self, tokens: int, *, layer: LayerKey = "first", point: Point = "layer", seed: int | None = None
    ) -> torch.Tensor:
        """Random activations [tokens, D] in fp32 of one user; the arguments are those of `decode_activations`."""
        return self.decode_activations(tokens, layer=layer, point=point, seed=seed)

    @torch.no_grad()
    def decode_history(
        self, slots: int, batch: int = 32, *, layer: LayerKey = "first", seed: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A random past of a layer for `reference_decode_attention`: rotated keys and values [batch, K, slots, h].

        They are the layer's own projections of `decode_activations` at positions 0 to `slots` - 1. All slots are
        filled, also those behind a user's position: there they stand for what an earlier user left behind.
        """
        index = self.layer_index(layer)
        attention = self.reference_layer(index).self_attn
        # Another seed than the step's own activations, which would otherwise be part of the past.
        hidden = self._activation_statistics[index, "attention"].draw(
            batch * slots, (self.seed if seed is None else seed) + 1
        )
        key = attention.k_proj(hidden).unflatten(-1, (-1, attention.head_dim))  # [batch · slots, K, h]
        value = attention.v_proj(hidden).unflatten(-1, (-1, attention.head_dim))
        _, key = reference_rotary(self.config, key, key, torch.arange(slots).repeat(batch))
        key, value = (rows.unflatten(0, (batch, slots)).transpose(1, 2).contiguous() for rows in (key, value))
        return key, value

    def prompts(self, count: int = 32) -> list[str]:
        """The first `count` prompts of `text.PROMPTS`.

        Raises:
            BringupError: there are fewer.
        """
        if not 1 <= count <= len(text.PROMPTS):
            raise BringupError(f"{count} prompts were asked for; there are 1 to {len(text.PROMPTS)}.")
        return list(text.PROMPTS[:count])

    def encode(self, prompt: str) -> list[int]:
        """The tokens of a text, with the special ones the tokenizer adds by itself."""
        return [int(token) for token in self.tokenizer(prompt)["input_ids"]]

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def chat(self, prompt: str, *, system: str | None = None) -> list[int]:
        """The tokens of a user's message, up to where the model answers; the bare text if it has no chat template.

        Args:
            prompt: the message.
            system: the system message before it; None leaves it to the template.
        """
        if not self.tokenizer.chat_template:
            return self.encode(prompt)
        messages = [{"role": "user", "content": prompt}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        chat: Any = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return [int(token) for token in chat["input_ids"]]

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        ids = self.config.eos_token_id
        return frozenset([] if ids is None else [ids] if isinstance(ids, int) else ids)

    def passage(self, tokens: int) -> list[int]:
        """The first `tokens` tokens of `text.PASSAGE`, a text in the public domain.

        Raises:
            BringupError: it has fewer.
        """
        ids = self.encode(text.PASSAGE)
        if not 1 <= tokens <= len(ids):
            raise BringupError(
                f"{tokens} tokens of the passage were asked for; {self.name} makes 1 to {len(ids)} of it."
            )
        return ids[:tokens]

    @cached_property
    def _activation_statistics(self) -> Mapping[tuple[int, Point], ActivationStatistics]:
        return measure_activations(self.reference, self.passage(PASSAGE_TOKENS))
