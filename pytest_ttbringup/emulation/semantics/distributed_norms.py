"""Norms of a tensor whose last dimension is cut into the parts of several chips: statistics, then the norm.

The statistics of one part fill a tile of 32 columns each, of which only the first column counts. Interleaved inputs
give sums, of x^2 first and then of x; width-sharded inputs give means, of x first and then of x^2 (so TT-NN's tests
`test_distributed_layernorm*.py` have it). TT-NN's golden functions know the interleaved form only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call

_COLUMNS = 32
"""Columns of a tile."""


@semantics("ttnn.rms_norm_pre_all_gather", "ttnn.layer_norm_pre_all_gather", updates="input_tensor")
def pre_all_gather(
    call: Call, input_tensor: torch.Tensor, *, residual_input_tensor: torch.Tensor | None = None, **_: Any
) -> torch.Tensor:
    """[..., W] -> statistics [..., 32] (RMS) or [..., 64]; a residual is added first, and into a sharded input."""
    import torch

    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    sharded = _is_sharded(call)
    if residual_input_tensor is not None and sharded:
        input_tensor.copy_(round_to(x, call.argument(0, "input_tensor").dtype))
    scale = x.shape[-1] if sharded else 1
    parts = [x.square().sum(-1, keepdim=True) / scale]
    if call.name == "ttnn.layer_norm_pre_all_gather":
        parts.insert(0 if sharded else 1, x.sum(-1, keepdim=True) / scale)
    return torch.cat([torch.nn.functional.pad(part, (0, _COLUMNS - 1)) for part in parts], dim=-1)


@semantics("ttnn.rms_norm_post_all_gather", "ttnn.layer_norm_post_all_gather")
def post_all_gather(
    call: Call,
    input_tensor: torch.Tensor,
    stats: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Normalize [..., W], one of D parts, by the statistics of all, [..., 32 D] (RMS) or [..., 64 D]."""
    import torch

    centered = call.name == "ttnn.layer_norm_post_all_gather"
    sharded = _is_sharded(call)
    columns = stats[..., ::_COLUMNS].unflatten(-1, (-1, 1 + centered))
    total = columns.mean(-2) if sharded else columns.mean(-2) / input_tensor.shape[-1]
    squares = total[..., 1:] if centered and sharded else total[..., :1]
    mean = (total[..., :1] if sharded else total[..., 1:]) if centered else torch.zeros(())
    normed = (input_tensor - mean) * torch.rsqrt(squares - mean.square() + epsilon)
    if weight is not None:
        normed = normed * weight.reshape(-1)[: normed.shape[-1]]
    return normed if bias is None else normed + bias.reshape(-1)[: normed.shape[-1]]


def _is_sharded(call: Call) -> bool:
    return bool(call.argument(0, "input_tensor").memory_config().is_sharded())
