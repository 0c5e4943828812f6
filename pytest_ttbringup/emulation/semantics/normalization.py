"""Norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.rms_norm")
def rms_norm(
    input_tensor: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Normalize: x / sqrt(mean(x^2) + epsilon) * weight + bias over the last dimension, of D values.

    Weight and bias hold D values in any shape.
    Models hand the weight over in row-major layout as [1, 1, D/32, 32]. With a residual, x is the sum of both.
    """
    import torch

    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    normed = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon)
    if weight is not None:
        normed = normed * weight.reshape(-1)
    if bias is not None:
        normed = normed + bias.reshape(-1)
    return normed


@semantics("ttnn.layer_norm")
def layer_norm(
    input_tensor: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Normalize: (x - mean) / sqrt(variance + epsilon) * weight + bias; the rest as in `rms_norm`.

    TT-NN's golden function adds the residual into its input.
    """
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    centered = x - x.mean(dim=-1, keepdim=True)
    return rms_norm(centered, epsilon=epsilon, weight=weight, bias=bias)
