"""Rotary position embedding in TT-NN's interleaved form: dimensions 2i and 2i + 1 are a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    """
    tile = trans_mat[0, 0, :32, :32]
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    cos, sin = cos_cache[..., :rows, :], sin_cache[..., :rows, :]
    rotated: torch.Tensor = (input_tensor.unflatten(-1, (-1, 32)) @ tile).flatten(-2)
    return input_tensor * cos + rotated * sin
