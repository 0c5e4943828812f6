"""Random activations that look like the real ones at a given place of a model.

A trained model's hidden states are no unit noise: what enters a layer of SmolLM2 has an RMS of 0.12 at the first and 31
at the last, and there one channel stands at 600, 45 times the spread of the others. So mean and standard deviation of
every channel are measured while the reference reads `text.PASSAGE`, and activations are drawn from a normal
distribution with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

# `layer`: what enters a decoder layer. `attention`, `mlp`: what enters that module, behind its norm.
Point = Literal["layer", "attention", "mlp"]


@dataclass(frozen=True)
class ActivationStatistics:
    """Mean and standard deviation of every channel at one point, each [hidden], in fp32."""

    mean: torch.Tensor
    std: torch.Tensor

    def draw(self, batch: int, seed: int) -> torch.Tensor:
        """[batch, hidden] in fp32: independent rows, the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal((batch, len(self.mean)))
        return self.mean + self.std * torch.from_numpy(noise.astype(np.float32))


@torch.no_grad()
def measure_activations(
    reference: LlamaForCausalLM, ids: Sequence[int]
) -> Mapping[tuple[int, Point], ActivationStatistics]:
    """The statistics at every (layer, point) while the reference reads `ids`.

    The first token is left out: trained models give it huge activations, on which other tokens park their attention.
    """
    measured: dict[tuple[int, Point], ActivationStatistics] = {}

    def keep(place: tuple[int, Point], hidden: torch.Tensor) -> None:
        tokens = hidden.reshape(-1, hidden.shape[-1])[1:].double()
        measured[place] = ActivationStatistics(tokens.mean(0).float(), tokens.std(0).float())

    def entered_norm(index: int, module: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:  # noqa: ARG001
        keep((index, "layer"), inputs[0])
        keep((index, "attention"), output)

    def left_norm(index: int, module: Any, inputs: Any, output: torch.Tensor) -> None:  # noqa: ARG001
        keep((index, "mlp"), output)

    hooks = []
    for index, layer in enumerate(reference.model.layers):
        hooks.append(layer.input_layernorm.register_forward_hook(partial(entered_norm, index)))
        hooks.append(layer.post_attention_layernorm.register_forward_hook(partial(left_norm, index)))
    try:
        reference.model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return measured
