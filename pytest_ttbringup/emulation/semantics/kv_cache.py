"""Writes into a KV cache, contiguous [B, K, S, h] or paged [blocks, K, block, h].

Shape legend: B users, K key/value heads, S cache length, h head size. A page table [B, pages] gives for each user the
block that holds its positions page * block … page * block + block - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import round_to, significant_bits
from pytest_ttbringup.emulation.semantics import semantics

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
    **unsupported: Any,
) -> None:
    """Write one row per user and head: input [1, B, K, h] goes to position `update_idxs[user]`; a negative position
    skips its user.
    """
    import torch

    _refuse(call, unsupported, ("block_size", "num_kv_heads", "cache_position_modulo", "mesh_coords"))
    if share_cache:
        raise EmulationError(f"{call.name}: share_cache=True is not emulated")
    positions = torch.tensor(list(update_idxs)) if update_idxs_tensor is None else update_idxs_tensor.reshape(-1).long()
    users = torch.arange(positions.numel())
    heads = cache_tensor.shape[1]
    rows = _packed(call, input_tensor[0, batch_offset : batch_offset + len(users), :heads])
    active = positions >= 0
    _check_positions(call, positions, _capacity(cache_tensor, page_table))
    users, positions, rows = users[active], positions[active], rows[active]
    if page_table is None:
        cache_tensor[users, :, positions] = rows
    else:
        block = cache_tensor.shape[2]
        cache_tensor[page_table.long()[users, positions // block], :, positions % block] = rows


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
    renamed = call._replace(arguments=(call.argument(0, "cache"),))
    fill_cache(renamed, cache, input, batch_index)


@semantics("ttnn.fill_cache", updates="cache_tensor")
def fill_cache(
    call: Call, cache_tensor: torch.Tensor, input_tensor: torch.Tensor, batch_idx: int, *, update_idx: int = 0, **_: Any
) -> None:
    """Write a whole sequence of one user: input [1, K, S', h] goes to positions `update_idx` … of user `batch_idx`."""
    length = input_tensor.shape[2]
    rows = round_to(input_tensor[0], call.argument(0, "cache_tensor").dtype)
    cache_tensor[batch_idx, :, update_idx : update_idx + length] = rows


@semantics("ttnn.experimental.paged_fill_cache", updates="cache_tensor", refuses=("valid_seq_len_tensor",))
def paged_fill_cache(
    call: Call,
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    page_table: torch.Tensor,
    *,
    batch_idx_tensor: torch.Tensor | None = None,
    batch_idx: int = 0,
    **unsupported: Any,
) -> None:
    """Write whole sequences through the page table: input [B', K, S', h]; row b belongs to user
    `batch_idx_tensor[b]`.
    """
    import torch

    _refuse(call, unsupported, ("block_size", "cache_position_modulo", "mesh_coords"))
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.reshape(-1).tolist()
    block = cache_tensor.shape[2]
    rows = round_to(input_tensor, call.argument(0, "cache_tensor").dtype)
    positions = torch.arange(rows.shape[2])
    for row, user in zip(rows, users, strict=True):
        cache_tensor[page_table.long()[user, positions // block], :, positions % block] = row.transpose(0, 1)


@semantics("ttnn.plus_one", updates="input_tensor")
def plus_one(input_tensor: torch.Tensor, *, skip_negative_entries: bool = False, **_: Any) -> None:
    """Add one to each integer in place; with `skip_negative_entries` only to those that are not negative (nor the
    greatest).
    """
    import torch

    wide = input_tensor.long()
    step = (wide >= 0) & (wide < torch.iinfo(torch.int32).max) if skip_negative_entries else torch.ones_like(wide)
    input_tensor.copy_((wide + step).to(input_tensor.dtype))


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


def _check_positions(call: Call, positions: torch.Tensor, capacity: int) -> None:
    """The device would write past the cache, into whatever lies behind it."""
    if bool((positions >= capacity).any()):
        user = int((positions >= capacity).nonzero()[0])
        raise EmulationError(
            f"{call.name}: user {user} writes position {int(positions[user])}, but the cache holds {capacity} positions"
        )


def _refuse(call: Call, keywords: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if keywords.get(name) is not None:
            raise EmulationError(f"{call.name}: {name}={keywords[name]!r} is not emulated")
