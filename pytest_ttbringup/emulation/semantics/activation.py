"""Activations whose golden function declines to answer for some arguments, because TT-NN does not compare those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.gelu")
def gelu(input_tensor: torch.Tensor, *, variant: Any = None, **_: Any) -> torch.Tensor:
    """X * Phi(x); the variant `Tanh` is another function, the others approximate this one."""
    import torch
    import ttnn

    approximate = "tanh" if variant == ttnn.GeluVariant.Tanh else "none"
    return torch.nn.functional.gelu(input_tensor, approximate=approximate)


@semantics("ttnn.asin")
def asin(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """Arc sine; NaN beyond -1 … 1."""
    return input_tensor.asin()


@semantics("ttnn.acos")
def acos(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """Arc cosine; NaN beyond -1 … 1."""
    return input_tensor.acos()


@semantics("ttnn.prelu")
def prelu(input_tensor_a: torch.Tensor, weight: torch.Tensor | float | list[float], **_: Any) -> torch.Tensor:
    """Compute x where positive, else x * weight: a number, or one for each channel (dimension 1)."""
    import torch

    slopes = torch.as_tensor(weight, dtype=input_tensor_a.dtype)
    if slopes.dim() == 1 and len(slopes) > 1:
        slopes = slopes.reshape(-1, *[1] * (input_tensor_a.dim() - 2))
    return torch.where(input_tensor_a > 0, input_tensor_a, input_tensor_a * slopes)
