"""Rotary position embedding in TT-NN's interleaved form: dimensions 2i and 2i + 1 are a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.experimental.rotary_embedding_llama")
def rotary_embedding_llama(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
    *,
    is_decode_mode: bool = False,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Compute x * cos + (x @ T) * sin, where T is one 32x32 tile applied to every 32 columns of x.

    Args:
        input_tensor: [1, B, H, h] in decode, [B, H, S, h] in prefill.
        cos_cache: [1, B, 1, h] in decode (the first row of a tile serves all heads), [1, 1 or H, S or more, h] in
            prefill.
        sin_cache: like `cos_cache`.
        trans_mat: [1, 1, 32 or more, 32]: the tile, repeated for every core in decode.
        is_decode_mode: which of the two.
        compute_kernel_config: the caller's, if any.
    """
    tile = trans_mat[0, 0, :32, :32]
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    cos, sin = cos_cache[..., :rows, :], sin_cache[..., :rows, :]
    rotated: torch.Tensor = (input_tensor.unflatten(-1, (-1, 32)) @ tile).flatten(-2)
    return arithmetic().rotary(input_tensor, rotated, cos, sin, compute_kernel_config=compute_kernel_config)


@semantics("ttnn.experimental.rotary_embedding_llama_fused_qk")
def rotary_embedding_llama_fused_qk(
    q_input_tensor: torch.Tensor,
    k_input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
    *,
    compute_kernel_config: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both of a decode step's at once: q [1, B, H, h], k [1, B, K, h]; cos and sin [1, 2 B, 1, h], first B rows for q.

    A cache of B rows serves both.
    """
    users = q_input_tensor.shape[1]
    q_cos, q_sin = cos_cache[:, :users], sin_cache[:, :users]
    k_cos, k_sin = cos_cache[:, -users:], sin_cache[:, -users:]
    options = {"is_decode_mode": True, "compute_kernel_config": compute_kernel_config}
    return (
        rotary_embedding_llama(q_input_tensor, q_cos, q_sin, trans_mat, **options),
        rotary_embedding_llama(k_input_tensor, k_cos, k_sin, trans_mat, **options),
    )


@semantics("ttnn.experimental.rotary_embedding_hf")
def rotary_embedding_hf(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    *,
    is_decode_mode: bool = False,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Hugging Face's form, in which dimensions i and i + h/2 are a pair; shapes as in `rotary_embedding_llama`."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    cos, sin = cos_cache[..., :rows, :], sin_cache[..., :rows, :]
    turned = rotate_half(input_tensor)
    return arithmetic().rotary(input_tensor, turned, cos, sin, compute_kernel_config=compute_kernel_config)


@semantics("ttnn.experimental.rotate_half")
def rotate_half(input: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: A002
    """[x1, x2] -> [-x2, x1], of halves of the last dimension."""
    import torch

    first, second = input.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


@semantics("ttnn.experimental.rotary_embedding")
def rotary_embedding(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    token_index: int | None = None,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Hugging Face's form over whole caches [1, 1, S or more, h]; with a `token_index` every row has that position."""
    first = 0 if token_index is None else token_index
    rows = input_tensor.shape[-2] if token_index is None else 1
    cos, sin = cos_cache[..., first : first + rows, :], sin_cache[..., first : first + rows, :]
    turned = rotate_half(input_tensor)
    return arithmetic().rotary(input_tensor, turned, cos, sin, compute_kernel_config=compute_kernel_config)
