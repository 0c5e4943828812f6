"""Hugging Face state dicts: parts of them, and whether they hold just what is needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from pytest_ttbringup.errors import BringupError

StateDict = Mapping[str, torch.Tensor]
"""Weights by Hugging Face's names, which are relative to the module that takes them."""


def within(weights: StateDict, prefix: str) -> dict[str, torch.Tensor]:
    """The weights below `prefix` ("model.layers.3"), named relative to it."""
    start = f"{prefix}."
    return {name.removeprefix(start): weight for name, weight in weights.items() if name.startswith(start)}


def check_names(weights: StateDict, expected: Collection[str], *, owner: str) -> None:
    """Make sure that `weights` are just those that `owner` uses: one left over (a bias, say) is a part not computed.

    Raises:
        BringupError: names are missing or left over.
    """
    missing = sorted(set(expected) - set(weights))
    if missing:
        raise BringupError(f"The weights of the {owner} lack {_listed(missing)}.")
    unused = sorted(set(weights) - set(expected))
    if unused:
        raise BringupError(f"The {owner} has no use for {_listed(unused)}: the checkpoint has a part not built here.")


def take(weights: StateDict, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight `name`, which must have `shape`.

    Raises:
        BringupError: it is missing or has another shape.
    """
    if name not in weights:
        raise BringupError(f"Weight {name} is missing. Given: {_listed(sorted(weights)) or 'none'}.")
    weight = weights[name]
    if tuple(weight.shape) != shape:
        raise BringupError(
            f"Weight {name} has shape {list(weight.shape)}; the configuration asks for {list(shape)}. "
            "Weights and configuration belong to different models, or the weight is transposed."
        )
    return weight


def _listed(names: Collection[str], most: int = 5) -> str:
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
