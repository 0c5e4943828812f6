"""Scaled dot-product attention: of a decode step, over a contiguous or paged KV cache, and of a prefill.

Shape legend: B users, H query heads, K key/value heads, S cache length, h head size; a group is the H / K queries of
one K/V head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionMask, AttentionSetting
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.indices import require_within
from pytest_ttbringup.emulation.semantics.tile_views import regrouped

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.transformer.scaled_dot_product_attention_decode")
def scaled_dot_product_attention_decode(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    *,
    is_causal: bool = True,
    cur_pos: Sequence[int] = (),
    cur_pos_tensor: torch.Tensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    program_config: Any = None,
    compute_kernel_config: Any = None,
    **keywords: Any,
) -> torch.Tensor:
    """Attention of q [1, B, H, h], k and v [B, K, S, h] -> [1, B, H, h]; user b attends to positions 0 … cur_pos[b].

    A user at a negative position is skipped by the device, which leaves its output as it was: NaN here. TT-NN's golden
    function does the same for one user after the other; masks, attention sinks and shared caches are left to it.
    """
    import torch
    import ttnn

    positions = torch.tensor(list(cur_pos)) if cur_pos_tensor is None else cur_pos_tensor.reshape(-1).long()
    if not is_causal or not len(positions) or any(keywords.get(name) is not None for name in _LEFT_TO_GOLDEN):
        return golden_values(  # type: ignore[no-any-return]
            ttnn.transformer.scaled_dot_product_attention_decode,
            call,
            input_tensor_q,
            input_tensor_k,
            input_tensor_v,
            is_causal=is_causal,
            cur_pos=cur_pos,
            cur_pos_tensor=cur_pos_tensor,
            scale=scale,
            sliding_window_size=sliding_window_size,
            **keywords,
        )
    length = max(1, int(positions.max()) + 1)  # nobody looks further
    require_within(call.name, "a user's position", positions.clamp(min=0), input_tensor_k.shape[2])
    users, heads, size = input_tensor_q.shape[1:]
    setting = AttentionSetting.for_decode(
        size**-0.5 if scale is None else scale,
        length,
        program_config,
        compute_kernel_config,
        half_tiles=heads <= 16 and call.argument(0, "input_tensor_q").dtype == ttnn.bfloat16,
        cache=None if "paged" in call.name else input_tensor_k.shape[2],
    )
    attended = arithmetic().attention(
        input_tensor_q[0][:, :, None],
        input_tensor_k[:, :, :length],
        input_tensor_v[:, :, :length],
        AttentionMask(positions[:, None], sliding_window_size),
        setting,
    )
    return attended.reshape(1, users, heads, -1)


_LEFT_TO_GOLDEN = ("attn_mask", "attention_sink", "share_cache")


@semantics("ttnn.transformer.scaled_dot_product_attention")
def scaled_dot_product_attention(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    *,
    is_causal: bool = True,
    scale: float | None = None,
    program_config: Any = None,
    compute_kernel_config: Any = None,
    **keywords: Any,
) -> Any:
    """Attention of q [B, H, S, h], k and v [B, K, T, h] -> [B, H, S, h]. Masks and the like are left to TT-NN's golden
    function.
    """
    import ttnn

    q, k, v = input_tensor_q, input_tensor_k, input_tensor_v
    plain = all(it is None for name, it in keywords.items() if name != "memory_config")
    if not plain or (is_causal and q.shape[2] != k.shape[2]):
        options = {"is_causal": is_causal, "scale": scale} | keywords
        return golden_values(ttnn.transformer.scaled_dot_product_attention, call, q, k, v, **options)
    setting = AttentionSetting.for_prefill(
        q.shape[-1] ** -0.5 if scale is None else scale, program_config, compute_kernel_config
    )
    mask = AttentionMask.causal(q.shape[2]) if is_causal else AttentionMask()
    return arithmetic().attention(q, k, v, mask, setting)


@semantics("ttnn.transformer.chunked_scaled_dot_product_attention")
def chunked_scaled_dot_product_attention(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    page_table_tensor: torch.Tensor,
    chunk_start_idx: int | None = None,
    *,
    chunk_start_idx_tensor: torch.Tensor | None = None,
    paged_cache_geometry: Any = None,
    **keywords: Any,
) -> Any:
    """Attention of q [B, H, S, h], of which the first row is at `chunk_start_idx`, to k and v [blocks, K, block, h]
    through a page table [B, pages].

    TT-NN's golden function computes it, from the pages up to the chunk's end: it would gather all pages of the table,
    and refuse a -1 where none is in use, which the kernel never comes to.
    """
    import ttnn

    start = chunk_start_idx if chunk_start_idx_tensor is None else chunk_start_idx_tensor.reshape(-1)[0]
    block = (paged_cache_geometry and paged_cache_geometry.block_size) or input_tensor_k.shape[2]
    end = int(start or 0) + input_tensor_q.shape[2]
    pages = page_table_tensor[:, : -(-end // block)]
    return golden_values(
        ttnn.transformer.chunked_scaled_dot_product_attention,
        call,
        input_tensor_q,
        input_tensor_k,
        input_tensor_v,
        pages,
        chunk_start_idx,
        chunk_start_idx_tensor=chunk_start_idx_tensor,
        paged_cache_geometry=paged_cache_geometry,
        **keywords,
    )


@semantics("ttnn.transformer.paged_scaled_dot_product_attention_decode", refuses=("spec_multi_pos_tiles",))
def paged_scaled_dot_product_attention_decode(
    call: Call,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    page_table_tensor: torch.Tensor,
    *,
    cur_pos_tensor: torch.Tensor | None = None,
    **keywords: Any,
) -> torch.Tensor:
    """As `scaled_dot_product_attention_decode`, with k and v [blocks, K, block, h] and a page table [B, pages]; with a
    geometry the blocks are seen as K and block that it names, tile by tile.
    """
    import torch
    import ttnn

    geometry = keywords.pop("paged_cache_geometry", None)
    if geometry is not None:
        view = (geometry.num_kv_heads, geometry.block_size, input_tensor_q.shape[-1])
        input_tensor_k, input_tensor_v = regrouped(input_tensor_k, *view), regrouped(input_tensor_v, *view)
    if keywords.get("cache_position_modulo") is not None:
        caches = (input_tensor_k, input_tensor_v, page_table_tensor)
        return golden_values(  # type: ignore[no-any-return]
            ttnn.transformer.paged_scaled_dot_product_attention_decode,
            call,
            input_tensor_q,
            *caches,
            cur_pos_tensor=cur_pos_tensor,
            **keywords,
        )
    pages, block = page_table_tensor.long(), input_tensor_k.shape[2]
    if cur_pos_tensor is not None:
        positions = cur_pos_tensor.reshape(-1).long()
        require_within(call.name, "a user's position", positions.clamp(min=0), pages.shape[1] * block)
        pages = pages[:, : int(positions.clamp(min=0).max()) // block + 1]  # one where nobody takes part: some shape
        looked_at = torch.arange(pages.shape[1]) * block <= positions[:, None]
        require_within(call.name, "a page of the page table", pages[looked_at], input_tensor_k.shape[0])
        pages = pages.clamp(0, input_tensor_k.shape[0] - 1)  # others may hold anything: nobody looks there
    k, v = (cache[pages].transpose(1, 2).flatten(2, 3) for cache in (input_tensor_k, input_tensor_v))
    return scaled_dot_product_attention_decode(call, input_tensor_q, k, v, cur_pos_tensor=cur_pos_tensor, **keywords)
