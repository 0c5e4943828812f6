"""Random numbers.

The device's generators are not modelled: what agrees with it are ranges, distributions, and that one seed gives one
result. Without a seed (0, as TT-NN has it) values come from PyTorch's global generator, which `reset_seeds` seeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch
    import ttnn

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

    drawn = torch.rand(tuple(call.output.shape), generator=generator(seed)) * (high - low) + low
    return drawn.clamp(max=below(low, high, call.output.dtype))


@semantics("ttnn.randn")
def randn(call: Call, *_: Any, seed: int = UNSEEDED, **__: Any) -> torch.Tensor:
    """Normal with mean 0 and variance 1."""
    import torch

    return torch.randn(tuple(call.output.shape), generator=generator(seed))


@semantics("ttnn.uniform")
def uniform(
    call: Call,
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
    drawn = torch.rand(input.shape, generator=generator(int(bounds[2]))) * (high - low) + low
    return drawn.clamp(max=below(low, high, call.argument(0, "input").dtype))


_BLOCK_BITS = {"BFLOAT8_B": 7, "BFLOAT4_B": 3}
"""Significant bits of the largest value of a block."""


def below(low: float, limit: float, dtype: ttnn.DataType) -> float:
    """The greatest number below `limit` that a dtype holds beside numbers from `low` on, so that rounding to it never
    gives the limit: in a block format the largest of a block decides what the others can be.
    """
    import torch
    import ttnn

    if dtype.name in _BLOCK_BITS:
        largest = max(abs(low), abs(math.nextafter(limit, low)))
        unit = math.ldexp(1.0, math.frexp(largest)[1] - _BLOCK_BITS[dtype.name])
        return (math.ceil(limit / unit) - 1) * unit
    nearest = torch.tensor(limit, dtype=torch.bfloat16 if dtype == ttnn.bfloat16 else torch.float32)
    inside = nearest if float(nearest) < limit else torch.nextafter(nearest, torch.tensor(-torch.inf).to(nearest))
    return float(inside)


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
