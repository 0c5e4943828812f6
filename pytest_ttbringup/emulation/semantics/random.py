"""Random numbers.

The device's generators are not modelled: what agrees with it are ranges, distributions, and that one seed gives one
result. Without a seed (0, as TT-NN has it) values come from PyTorch's global generator, which `reset_seeds` seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call

UNSEEDED = 0
"""The seed that asks TT-NN for one of its own making."""


def generator(seed: int | None) -> torch.Generator | None:
    """PyTorch's generator for TT-NN's `seed`; None, the global one, if none was given."""
    import torch

    return torch.Generator().manual_seed(seed) if seed else None


@semantics("ttnn.rand")
def rand(call: Call, *_: Any, low: float = 0.0, high: float = 1.0, seed: int = UNSEEDED, **__: Any) -> torch.Tensor:
    """Uniform in [low, high)."""
    import torch

    return torch.rand(tuple(call.output.shape), generator=generator(seed)) * (high - low) + low


@semantics("ttnn.randn")
def randn(call: Call, *_: Any, seed: int = UNSEEDED, **__: Any) -> torch.Tensor:
    """Normal with mean 0 and variance 1."""
    import torch

    return torch.randn(tuple(call.output.shape), generator=generator(seed))


@semantics("ttnn.uniform")
def uniform(
    input: torch.Tensor,  # noqa: A002
    *given: float,
    seed: int = UNSEEDED,
    to: float = 1.0,
    **keywords: Any,
) -> torch.Tensor:
    """Uniform in [from, to), these and the seed by position or by name; TT-NN writes it into its input."""
    import torch

    bounds = [*given, *(keywords.get("from", 0.0), to, seed)[len(given) :]]
    low, high = bounds[:2]
    return torch.rand(input.shape, generator=generator(int(bounds[2]))) * (high - low) + low


@semantics("ttnn.bernoulli")
def bernoulli(input: torch.Tensor, seed: int = UNSEEDED, **_: Any) -> torch.Tensor:  # noqa: A002
    """One with the probability each element gives, else zero."""
    import torch

    return torch.bernoulli(input, generator=generator(seed))


@semantics("ttnn.experimental.dropout")
def dropout(input_tensor: torch.Tensor, probability: float, scale: float, seed: int, **_: Any) -> torch.Tensor:
    """Zero with `probability`, else x * scale."""
    import torch

    kept = torch.rand(input_tensor.shape, generator=generator(seed)) >= probability
    return torch.where(kept, input_tensor * scale, 0.0)
