"""Norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch
    import ttnn


@semantics("ttnn.rms_norm")
def rms_norm(call: Call, input_tensor: torch.Tensor, **options: Any) -> torch.Tensor:
    """Normalize: x / sqrt(mean(x^2) + epsilon) * weight + bias over the last dimension, of D values.

    Weight and bias hold D values in any shape.
    Models hand the weight over in row-major layout as [1, 1, D/32, 32]. With a residual, x is the sum of both.
    """
    return normed(input_tensor, output=call.output.dtype, centered=False, **options)


@semantics("ttnn.layer_norm")
def layer_norm(call: Call, input_tensor: torch.Tensor, **options: Any) -> torch.Tensor:
    """Normalize: (x - mean) / sqrt(variance + epsilon) * weight + bias; the rest as in `rms_norm`.

    TT-NN's golden function adds the residual into its input.
    """
    return normed(input_tensor, output=call.output.dtype, centered=True, **options)


def normed(
    x: torch.Tensor,
    *,
    output: ttnn.DataType,
    centered: bool,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Either norm, under TT-NN's names."""
    return arithmetic().norm(
        x,
        centered=centered,
        epsilon=epsilon,
        weight=None if weight is None else weight.reshape(-1),
        bias=None if bias is None else bias.reshape(-1),
        residual=residual_input_tensor,
        output=output,
        compute_kernel_config=compute_kernel_config,
    )
