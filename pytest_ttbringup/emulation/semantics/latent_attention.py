"""Multi-head latent attention of a decode step: one K/V head, of which V is the first part of K.

TT-NN's golden functions take these for attention with as many K/V heads as the cache has users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.attention import (
    paged_scaled_dot_product_attention_decode,
    scaled_dot_product_attention_decode,
)

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.transformer.flash_multi_latent_attention_decode")
def flash_multi_latent_attention_decode(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor | None = None,
    head_dim_v: int | None = None,
    **keywords: Any,
) -> torch.Tensor:
    """Q [1, B, H, h], k [B, 1, S, h] (v [B, 1, S, h'], or the first `head_dim_v` of k) -> [1, B, H, h']."""
    v = input_tensor_k[..., :head_dim_v] if input_tensor_v is None else input_tensor_v
    return scaled_dot_product_attention_decode(call, input_tensor_q, input_tensor_k, v, **keywords)


@semantics("ttnn.transformer.paged_flash_multi_latent_attention_decode")
def paged_flash_multi_latent_attention_decode(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor | None = None,
    head_dim_v: int | None = None,
    page_table_tensor: torch.Tensor | None = None,
    **keywords: Any,
) -> torch.Tensor:
    """As `flash_multi_latent_attention_decode`, with k and v [blocks, 1, block, h] and a page table [B, pages]."""
    v = input_tensor_k[..., :head_dim_v] if input_tensor_v is None else input_tensor_v
    assert page_table_tensor is not None, "TT-NN refuses the call without a page table"
    return paged_scaled_dot_product_attention_decode(
        call, input_tensor_q, input_tensor_k, v, page_table_tensor, **keywords
    )
