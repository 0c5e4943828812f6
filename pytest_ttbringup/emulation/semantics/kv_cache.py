"""Writes into a KV cache, contiguous [B, K, S, h] or paged [blocks, K, block, h].

Shape legend: B users, K key/value heads, S cache length, h head size. A page table [B, pages] gives for each user the
block that holds its positions page * block … page * block + block - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.formats import round_to, significant_bits
from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.indices import require_within
from pytest_ttbringup.emulation.semantics.tile_views import regrouped

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.experimental.paged_update_cache", updates="cache_tensor")
def paged_update_cache(
    call: Call,
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: torch.Tensor | None = None,
    share_cache: bool | None = None,
    page_table: torch.Tensor | None = None,
    batch_offset: int = 0,
    block_size: int | None = None,
    num_kv_heads: int | None = None,
    cache_position_modulo: int | None = None,
    **_: Any,
) -> None:
    """Write one row per user and head: input [1, B, K, h] goes to position `update_idxs[user]`; -1 skips its user.

    A shared cache [1, K, S, h] takes the rows of all users. `block_size` and `num_kv_heads` see the blocks of a paged
    cache in another shape, tile by tile; `cache_position_modulo` wraps positions around before they are looked up.

    Raises:
        EmulationError: a row would go past the cache or through a page-table entry that is no block, such as the -1 of
            an unused page: `writer_update_cache_interleaved_start_id.cpp` looks for neither and writes anywhere.
    """
    import torch

    positions = torch.tensor(list(update_idxs)) if update_idxs_tensor is None else update_idxs_tensor.reshape(-1).long()
    users = torch.arange(positions.numel())
    heads = num_kv_heads or cache_tensor.shape[1]
    view = _view(cache_tensor, heads, block_size, input_tensor.shape[-1])
    rows = _packed(call, input_tensor[0, batch_offset : batch_offset + len(users), :heads])
    active = (positions != -1) & (positions != _UNSIGNED_SKIP)
    if not bool(active.all()):
        users, positions, rows = users[active], positions[active], rows[active]
    if cache_position_modulo:
        positions = positions % cache_position_modulo
    require_within(call.name, "a position", positions, _capacity(view, page_table))
    if page_table is None:
        view[torch.zeros_like(users) if share_cache else users, :, positions] = rows
    else:
        blocks = page_table.long()[users, positions // view.shape[2]]
        require_within(call.name, "an entry of the page table", blocks, view.shape[0])
        view[blocks, :, positions % view.shape[2]] = rows
    _keep(view, cache_tensor)


@semantics("ttnn.experimental.paged_fused_update_cache", updates=("cache_tensor1", "cache_tensor2"))
def paged_fused_update_cache(
    call: Call,
    cache_tensor1: torch.Tensor,
    input_tensor1: torch.Tensor,
    cache_tensor2: torch.Tensor,
    input_tensor2: torch.Tensor,
    **keywords: Any,
) -> None:
    """`paged_update_cache` of two caches, K's and V's, at the same positions."""
    for position, cache, rows in ((0, cache_tensor1, input_tensor1), (2, cache_tensor2, input_tensor2)):
        tensors = (call.argument(position, f"cache_tensor{position // 2 + 1}"),)
        paged_update_cache(call._replace(arguments=tensors), cache, rows, **keywords)


@semantics("ttnn.update_cache", updates="cache")
def update_cache(
    call: Call,
    cache: torch.Tensor,
    input: torch.Tensor,  # noqa: A002
    update_idx: int,
    *,
    batch_offset: int = 0,
    **_: Any,
) -> None:
    """Write one position of all users: input [1, K, B, h] goes to position `update_idx`; its users start at
    `batch_offset`.
    """
    rows = input[0, :, batch_offset : batch_offset + cache.shape[0]].transpose(0, 1)
    cache[:, :, update_idx] = round_to(rows, call.argument(0, "cache").dtype)


@semantics("ttnn.kv_cache.update_cache_for_token_", updates="cache")
def update_cache_for_token(
    call: Call,
    cache: torch.Tensor,
    input: torch.Tensor,  # noqa: A002
    update_index: int,
    batch_offset: int = 0,
    *_: Any,
    **__: Any,
) -> None:
    """`update_cache` under another name."""
    update_cache(call, cache, input, update_index, batch_offset=batch_offset)


@semantics("ttnn.experimental.nlp_kv_cache_load_slice")
def nlp_kv_cache_load_slice(
    input_tensor: torch.Tensor, *, seq_len_start: int, seq_len_end: int, **_: Any
) -> torch.Tensor:
    """Positions `seq_len_start` … `seq_len_end` - 1 of a cache [B, K, S, h]."""
    return input_tensor[:, :, seq_len_start:seq_len_end]


@semantics("ttnn.kv_cache.fill_cache_for_user_", updates="cache")
def fill_cache_for_user(
    call: Call,
    cache: torch.Tensor,
    input: torch.Tensor,  # noqa: A002
    batch_index: int,
) -> None:
    """`fill_cache` from position 0 on."""
    renamed = call._replace(arguments=(call.argument(0, "cache"), call.argument(1, "input")))
    fill_cache(renamed, cache, input, batch_index)


@semantics("ttnn.fill_cache", updates="cache_tensor")
def fill_cache(
    call: Call, cache_tensor: torch.Tensor, input_tensor: torch.Tensor, batch_idx: int, *, update_idx: int = 0, **_: Any
) -> None:
    """Write a whole sequence of one user: input [1, K, S', h] goes to positions `update_idx` … of user `batch_idx`."""
    length = input_tensor.shape[2]
    cache_tensor[batch_idx, :, update_idx : update_idx + length] = _rounded(call, input_tensor[0])


@semantics("ttnn.experimental.paged_fill_cache", updates="cache_tensor", refuses=("valid_seq_len_tensor",))
def paged_fill_cache(
    call: Call,
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    page_table: torch.Tensor,
    *,
    batch_idx_tensor: torch.Tensor | None = None,
    batch_idx: int = 0,
    block_size: int | None = None,
    cache_position_modulo: int | None = None,
    **_: Any,
) -> None:
    """Write whole sequences through the page table: input [B', K, S', h]; row b belongs to user `batch_idx_tensor[b]`.

    Pages whose entry is -1 are skipped (`SKIP_PAGE_TABLE_ENTRY` in `writer_fill_cache_interleaved.cpp`). `block_size`
    and `cache_position_modulo` are those of `paged_update_cache`.

    Raises:
        EmulationError: there are too few pages, or an entry is another that is no block.
    """
    import torch

    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.reshape(-1).tolist()
    view = _view(cache_tensor, input_tensor.shape[1], block_size, input_tensor.shape[-1])
    block = view.shape[2]
    rows = _rounded(call, input_tensor)
    positions = torch.arange(rows.shape[2])
    if cache_position_modulo:
        positions = positions % cache_position_modulo
    require_within(call.name, "a position", positions, _capacity(view, page_table))
    require_within(call.name, "a user", torch.tensor(users), page_table.shape[0])
    for row, user in zip(rows, users, strict=True):
        blocks = page_table.long()[user, positions // block]
        kept = (blocks != -1) & (blocks != _UNSIGNED_SKIP)
        require_within(call.name, "an entry of the page table", blocks[kept], view.shape[0])
        view[blocks[kept], :, positions[kept] % block] = row.transpose(0, 1)[kept]
    _keep(view, cache_tensor)


@semantics("ttnn.plus_one", updates="input_tensor")
def plus_one(input_tensor: torch.Tensor, *, skip_negative_entries: bool = False, **_: Any) -> None:
    """Add one to each integer in place; with `skip_negative_entries` only to those that are not negative (nor the
    greatest).
    """
    import torch

    wide = input_tensor.long()
    step = (wide >= 0) & (wide < torch.iinfo(torch.int32).max) if skip_negative_entries else torch.ones_like(wide)
    input_tensor.copy_((wide + step).to(input_tensor.dtype))


def _rounded(call: Call, rows: torch.Tensor) -> torch.Tensor:
    """Rows as the cache holds them; those of a prefill often have its format already."""
    dtype = call.argument(0, "cache_tensor").dtype
    return rows if call.argument(1, "input_tensor").dtype == dtype else round_to(rows, dtype)


def _packed(call: Call, rows: torch.Tensor) -> torch.Tensor:
    """Rows as the update kernel packs them into the cache.

    Into a block format it rounds twice, first each value to seven significant bits and then to its block: all 12288
    elements of the K and V rows that Tenstorrent's simulator wrote agree, where a single rounding misses 12 % of them
    by one unit.
    """
    import ttnn

    dtype = call.argument(0, "cache_tensor").dtype
    block_format = dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b)
    return round_to(significant_bits(rows, 7) if block_format else rows, dtype)


def _capacity(cache: torch.Tensor, page_table: torch.Tensor | None) -> int:
    return cache.shape[2] if page_table is None else int(page_table.shape[-1]) * cache.shape[2]


_UNSIGNED_SKIP = 2**32 - 1
"""-1 in a uint32 tensor."""


def _view(cache: torch.Tensor, heads: int, block: int | None, size: int) -> torch.Tensor:
    """The cache itself, or its blocks in the shape [heads, block, size] that an operation asks for."""
    shape = (heads, block or cache.shape[2], size)
    return cache if tuple(cache.shape[1:]) == shape else regrouped(cache, *shape)


def _keep(view: torch.Tensor, cache: torch.Tensor) -> None:
    """Let the cache hold what was written into a view of it."""
    if view is not cache:
        cache.copy_(regrouped(view, *cache.shape[1:]))
