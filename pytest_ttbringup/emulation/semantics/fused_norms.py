"""RMS norms that a model's kernels fuse with what comes after, as TT-NN's docstrings define them.

Statistics and the steps after the norm are computed in float32 and rounded once.

Shape legend: S positions, W width, H heads of h = W / H, D parts of the width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.activations import activated
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.normalization import rms_norm

if TYPE_CHECKING:
    import torch

_COLUMNS = 32
"""Columns of a tile."""


@semantics("ttnn.experimental.dit_rms_norm_unary_fused")
def rms_norm_then_activation(
    call: Call,
    input_tensor: torch.Tensor,
    epsilon: float = 1e-5,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
    *,
    activation: Any = None,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """`activation(rms_norm(...))`."""
    normed = rms_norm(
        call,
        input_tensor,
        epsilon=epsilon,
        weight=weight,
        bias=bias,
        residual_input_tensor=residual_input_tensor,
        compute_kernel_config=compute_kernel_config,
    )
    return activated(normed, activation)


@semantics("ttnn.experimental.wan_fused_rmsnorm_pre_allgather")
def wan_statistics(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """[..., W] -> the sum of x^2 in the first of 32 columns."""
    import torch

    return torch.nn.functional.pad(input_tensor.square().sum(-1, keepdim=True), (0, _COLUMNS - 1))


@semantics("ttnn.experimental.wan_fused_rmsnorm_post_allgather")
def wan_norm(
    input_tensor: torch.Tensor,
    stats: torch.Tensor,
    *,
    epsilon: float = 1e-5,
    num_heads_per_device: int = 1,
    weight: torch.Tensor | None = None,
    transformation_mat: torch.Tensor | None = None,
    rope_cos: torch.Tensor | None = None,
    rope_sin: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """[1, 1, S, W], one of D parts, by the statistics of all [1, 1, S, 32 D] -> heads [1, H, S, h], rotated if cosines
    and sines [1, 1, S, h] are given: x cos + (x T) sin, T the transformation of neighbouring pairs in each tile.
    """
    import torch

    squares = stats[..., ::_COLUMNS].mean(-1, keepdim=True) / input_tensor.shape[-1]
    normed = input_tensor * torch.rsqrt(squares + epsilon)
    if weight is not None:
        normed = normed * weight.reshape(-1)
    heads: torch.Tensor = normed[:, 0].unflatten(-1, (num_heads_per_device, -1)).transpose(1, 2)
    if transformation_mat is None or rope_cos is None or rope_sin is None:
        return heads
    turned: torch.Tensor = (heads.unflatten(-1, (-1, _COLUMNS)) @ transformation_mat[0, 0]).flatten(-2)
    return heads * rope_cos + turned * rope_sin


@semantics("ttnn.experimental.kda.sigmoid_gated_rms_norm")
def sigmoid_gated_rms_norm(
    input: torch.Tensor,  # noqa: A002
    gate: torch.Tensor,
    weight: torch.Tensor,
    num_heads: int,
    *,
    epsilon: float = 1e-5,
    gate_column_offset: int = 0,
    **_: Any,
) -> torch.Tensor:
    """Of heads [B H, S, h] and gates [B, S, W or more]: rms_norm(x) weight sigmoid(gate) [B, S, W]."""
    import torch

    normed = input * torch.rsqrt(input.square().mean(-1, keepdim=True) + epsilon) * weight.reshape(-1)
    rows: torch.Tensor = normed.unflatten(0, (-1, num_heads)).transpose(1, 2).flatten(-2)
    return rows * gate[..., gate_column_offset : gate_column_offset + rows.shape[-1]].sigmoid()
