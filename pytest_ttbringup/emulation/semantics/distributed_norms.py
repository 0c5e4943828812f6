"""Norms of a tensor whose last dimension is cut into the parts of several chips: statistics, then the norm.

The statistics of one part fill a tile of 32 columns each, of which only the first column counts. Interleaved inputs
give sums, of x^2 first and then of x; width-sharded inputs give means, of x first and then of x^2; Welford's algorithm
gives mean and variance. So TT-NN's tests `test_distributed_layernorm*.py` and `test_distributed_dit_layernorm.py` have
it; its golden functions know the first form only.
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
    call: Call, input_tensor: torch.Tensor, *, residual_input_tensor: torch.Tensor | None = None, **keywords: Any
) -> torch.Tensor:
    """[..., W] -> statistics [..., 32] (RMS) or [..., 64]; a residual is added first, and into a sharded input."""
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    sharded = _is_sharded(call)
    if residual_input_tensor is not None and sharded:
        input_tensor.copy_(round_to(x, call.argument(0, "input_tensor").dtype))
    if call.name == "ttnn.rms_norm_pre_all_gather":
        return _tiles(x.square().mean(-1) if sharded else x.square().sum(-1))
    if sharded:
        return _tiles(x.mean(-1), x.square().mean(-1))
    if getattr(keywords.get("program_config"), "use_welford", False):
        return dit_layernorm_pre_allgather(x)
    return _tiles(x.square().sum(-1), x.sum(-1))


@semantics("ttnn.experimental.dit_layernorm_pre_allgather")
def dit_layernorm_pre_allgather(input_tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """[..., W] -> mean and variance [..., 64]."""
    return _tiles(input_tensor.mean(-1), input_tensor.var(-1, correction=0))


@semantics("ttnn.rms_norm_post_all_gather", "ttnn.layer_norm_post_all_gather")
def post_all_gather(
    call: Call, input_tensor: torch.Tensor, stats: torch.Tensor, *, program_config: Any = None, **keywords: Any
) -> torch.Tensor:
    """Normalize [..., W], one of D parts, by the statistics of all, [..., 32 D] (RMS) or [..., 64 D]."""
    sharded = _is_sharded(call)
    scale = 1 if sharded else input_tensor.shape[-1]
    if call.name == "ttnn.rms_norm_post_all_gather":
        squares = stats[..., ::_COLUMNS].mean(-1, keepdim=True) / scale
        return _normed(input_tensor, 0.0, squares, **keywords)
    if not sharded and getattr(program_config, "use_welford", False):
        return dit_layernorm_post_allgather(input_tensor, stats, **keywords)
    first, second = _columns(stats)
    mean, squares = (first, second) if sharded else (second.mul(1 / scale), first.mul(1 / scale))
    mean, squares = mean.mean(-1, keepdim=True), squares.mean(-1, keepdim=True)
    return _normed(input_tensor, mean, squares - mean.square(), **keywords)


@semantics("ttnn.experimental.dit_layernorm_post_allgather")
def dit_layernorm_post_allgather(input_tensor: torch.Tensor, stats: torch.Tensor, **keywords: Any) -> torch.Tensor:
    """Normalize [..., W] by means and variances [..., 64 D] of all parts."""
    means, variances = _columns(stats)
    mean = means.mean(-1, keepdim=True)
    variance = (variances + means.square()).mean(-1, keepdim=True) - mean.square()
    return _normed(input_tensor, mean, variance, **keywords)


def _tiles(*columns: torch.Tensor) -> torch.Tensor:
    """Each [...] as the first of 32 columns, side by side."""
    import torch

    return torch.cat([torch.nn.functional.pad(it.unsqueeze(-1), (0, _COLUMNS - 1)) for it in columns], dim=-1)


def _columns(stats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., 64 D] -> the first and the second statistic of all parts, [..., D] each."""
    columns = stats[..., ::_COLUMNS]
    return columns[..., ::2], columns[..., 1::2]


def _normed(
    x: torch.Tensor,
    mean: torch.Tensor | float,
    variance: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    import torch

    normed = (x - mean) * torch.rsqrt(variance + epsilon)
    if weight is not None:
        normed = normed * _affine(weight, x)
    return normed if bias is None else normed + _affine(bias, x)


def _affine(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One row [W], in any shape and maybe padded; or [B, rows, W], of which the first row counts for each batch."""
    width = x.shape[-1]
    if values.dim() > 2 and values.shape[-1] == width and values.shape[-3] > 1:
        return values[..., :1, :]
    return values.reshape(-1)[:width]


def _is_sharded(call: Call) -> bool:
    return bool(call.argument(0, "input_tensor").memory_config().is_sharded())
