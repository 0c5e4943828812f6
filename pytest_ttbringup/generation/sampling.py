"""How a user's next token is chosen from its logits: greedily, or drawn by temperature, top-k and top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.errors import BringupError

if TYPE_CHECKING:
    import torch

SEEDS = 2**32
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 100.0
"""Between them a temperature changes the draw; its inverse stays far inside BF16's range."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are chosen; greedily unless a temperature is given.

    The filters apply in the order of transformers and TT-NN: temperature, then top-k, then top-p.

    Attributes:
        temperature: the logits are divided by it; 0 for greedy.
        top_k: only the k likeliest tokens are drawn from; all if None.
        top_p: of these only the likeliest whose probabilities sum to p, the one that reaches it included.
        seed: the same seed gives the same text for the same prompt, whoever else is in the batch; a new one is drawn
            for each text if None.

    Raises:
        BringupError: a value is out of its range, or top-k, top-p or a seed are given for greedy choice.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not (
            self.temperature == 0 or LOWEST_TEMPERATURE <= self.temperature <= HIGHEST_TEMPERATURE
        ):
            raise BringupError(
                f"temperature = {self.temperature!r} must be 0 (greedy), or {LOWEST_TEMPERATURE} to "
                f"{HIGHEST_TEMPERATURE:g}."
            )
        if self.top_k is not None and not (_is_whole(self.top_k) and self.top_k >= 1):
            raise BringupError(f"top_k = {self.top_k!r} must be a whole number of tokens, at least 1.")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise BringupError(f"top_p = {self.top_p!r} must be a probability above 0 and at most 1.")
        if self.seed is not None and not (_is_whole(self.seed) and 0 <= self.seed < SEEDS):
            raise BringupError(f"seed = {self.seed!r} must be a whole number from 0 to {SEEDS - 1}.")
        if self.greedy:
            useless = [
                f"{name} = {value}"
                for name, value, unset in (
                    ("top_k", self.top_k, None),
                    ("top_p", self.top_p, 1),
                    ("seed", self.seed, None),
                )
                if value != unset
            ]
            if useless:
                raise BringupError(
                    f"{' and '.join(useless)}: no effect at temperature 0, which is greedy. Give a temperature, such "
                    "as 0.8, too."
                )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is chosen always."""
        return self.temperature == 0


GREEDY = SamplingConfig()


def sampling_of_each(sampling: SamplingConfig | Sequence[SamplingConfig], users: int) -> list[SamplingConfig]:
    """One configuration for each user, of one for all or a list with one for each.

    Raises:
        BringupError: the list has another length.
    """
    if isinstance(sampling, SamplingConfig):
        return [sampling] * users
    if len(sampling) != users:
        raise BringupError(f"{len(sampling)} sampling configurations given for {users} users; give one, or one each.")
    return list(sampling)


def filtered(logits: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """The probabilities [V] (float64) to draw from, of logits [V]: 0 for tokens that top-k or top-p leave out.

    The filters are transformers' own. Tokens with the same logit as the k-th likeliest stay with it.
    """
    import torch
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    no_text: Any = torch.empty(1, 0, dtype=torch.long)  # these warpers do not look at the text so far
    scores: Any = logits.double()[None]
    return torch.softmax(warpers(no_text, scores)[0], dim=-1)


def draw(logits: torch.Tensor, sampling: SamplingConfig, uniform: float) -> int:
    """The token of logits [V] that a random number in [0, 1) chooses: where the cumulative probability passes it.

    Tokens are in the order of their probability, as in TT-NN's `ttnn.sampling`.
    """
    import torch

    weights, tokens = filtered(logits, sampling).sort(descending=True, stable=True)
    sums = weights.cumsum(-1)
    return int(tokens[torch.searchsorted(sums, uniform * sums[-1], right=True)])
