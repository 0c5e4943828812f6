"""Writes into a KV cache, contiguous and paged with shuffled tables, and what is refused there."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

USERS, HEADS, BLOCK, SIZE = 4, 2, 32, 32
seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


def integers(table: Any, device: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.from_torch(torch.as_tensor(table).int(), dtype=ttnn.int32, device=device)


def shuffled(seed: int, pages: int) -> torch.Tensor:
    """A page table [USERS, pages] that uses every block once."""
    order = torch.randperm(USERS * pages, generator=torch.Generator().manual_seed(seed))
    return order.reshape(USERS, pages)


def on_cores(x: torch.Tensor, device: ttnn.MeshDevice) -> ttnn.Tensor:
    """One user per core, as decode has it."""
    grid = ttnn.num_cores_to_corerangeset(x.shape[1], device.compute_with_storage_grid_size(), row_wise=True)
    config = ttnn.create_sharded_memory_config(
        (32, x.shape[-1]), grid, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
    )
    return ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, memory_config=config)


@settings(max_examples=4)
@given(user=st.integers(0, USERS - 1), length=st.sampled_from([32, 64]), seed=seeds)
def test_fill_cache(device: ttnn.MeshDevice, user: int, length: int, seed: int) -> None:
    cache, rows = numbers(seed, USERS, HEADS, 64, SIZE), numbers(seed + 1, 1, HEADS, length, SIZE)
    held = on_tiles(cache, device)
    ttnn.fill_cache(held, on_tiles(rows, device), user)
    expected = cache.clone()
    expected[user, :, :length] = rows[0]
    check_with_control(held, expected, rtol=0.0, atol=0.0)
    with pytest.raises(AssertionError):
        check(held, cache, rtol=0.0, atol=0.0)


@settings(max_examples=4)
@given(user=st.integers(0, USERS - 1), skipped=st.booleans(), seed=seeds)
def test_paged_fill_cache(device: ttnn.MeshDevice, user: int, skipped: bool, seed: int) -> None:
    table = shuffled(seed, 3)
    cache, rows = numbers(seed, USERS * 3, HEADS, BLOCK, SIZE), numbers(seed + 1, 1, HEADS, 3 * BLOCK, SIZE)
    if skipped:
        table[user, 1] = -1
    held = on_tiles(cache, device)
    ttnn.experimental.paged_fill_cache(held, on_tiles(rows, device), integers(table, device), batch_idx=user)
    expected = cache.clone()
    for page, block in enumerate(table[user].tolist()):
        if block >= 0:
            expected[block] = rows[0, :, page * BLOCK : (page + 1) * BLOCK]
    check_with_control(held, expected, rtol=0.0, atol=0.0)


@settings(max_examples=4)
@given(positions=st.lists(st.integers(-1, 2 * BLOCK - 1), min_size=USERS, max_size=USERS), seed=seeds)
def test_paged_update_cache(device: ttnn.MeshDevice, positions: list[int], seed: int) -> None:
    table = shuffled(seed, 2)
    cache, rows = numbers(seed, USERS * 2, HEADS, BLOCK, SIZE), numbers(seed + 1, 1, USERS, HEADS, SIZE)
    held = on_tiles(cache, device)
    ttnn.experimental.paged_update_cache(
        held,
        on_cores(rows, device),
        update_idxs_tensor=integers(positions, device),
        page_table=integers(table, device),
    )
    expected = cache.clone()
    for user, position in enumerate(positions):
        if position >= 0:
            expected[table[user, position // BLOCK], :, position % BLOCK] = rows[0, user]
    check_with_control(held, expected, rtol=0.0, atol=0.0)


def test_blocks_seen_in_another_shape(device: ttnn.MeshDevice) -> None:
    cache, rows = numbers(1, 4, 1, 64, 64), numbers(2, 1, 1, 1, 128)
    held = on_tiles(cache, device)
    ttnn.experimental.paged_update_cache(
        held,
        on_cores(rows, device),
        update_idxs_tensor=integers([5], device),
        page_table=integers([[2, 0]], device),
        block_size=32,
    )
    # A block of 64 x 64 is four tiles in a row of memory; seen as 32 x 128 the tiles of row 5 are all four of them.
    expected = cache.clone()
    for tile in range(4):
        row, column = 32 * (tile // 2) + 5, 32 * (tile % 2)
        expected[2, 0, row, column : column + 32] = rows[0, 0, 0, 32 * tile : 32 * tile + 32]
    check_with_control(held, expected, rtol=0.0, atol=0.0)


PAST = "a position is 64 .* outside 0 … 63"
NO_BLOCK = "an entry of the page table is {} .* outside 0 … 7"


@pytest.mark.parametrize(
    ("position", "page", "said"), [(64, 0, PAST), (40, -1, NO_BLOCK.format(-1)), (40, 9, NO_BLOCK.format(9))]
)
def test_an_update_that_would_go_astray(device: ttnn.MeshDevice, position: int, page: int, said: str) -> None:
    table = shuffled(1, 2)
    table[1, 1] = page
    cache = numbers(1, 8, HEADS, BLOCK, SIZE)
    held = on_tiles(cache, device)
    with pytest.raises(RuntimeError, match=f"paged_update_cache: {said}"):
        ttnn.experimental.paged_update_cache(
            held,
            on_cores(numbers(2, 1, USERS, HEADS, SIZE), device),
            update_idxs_tensor=integers([0, position, 0, 0], device),
            page_table=integers(table, device),
        )
    check(held, cache, rtol=0.0, atol=0.0)


def test_a_fill_past_the_pages(device: ttnn.MeshDevice) -> None:
    held, rows = on_tiles(numbers(1, 4, 1, BLOCK, SIZE), device), on_tiles(numbers(2, 1, 1, 2 * BLOCK, SIZE), device)
    with pytest.raises(RuntimeError, match=r"paged_fill_cache: an entry of the page table is 7 .* outside 0 … 3"):
        ttnn.experimental.paged_fill_cache(held, rows, integers([[1, 7]], device), batch_idx=0)


@pytest.mark.parametrize("is_paged", [False, True])
def test_attention_past_the_cache(device: ttnn.MeshDevice, is_paged: bool) -> None:
    q, k = on_tiles(numbers(1, 1, 1, 4, SIZE), device), on_tiles(numbers(2, 1, 1, 64, SIZE), device)
    keywords = {"cur_pos_tensor": integers([64], device)}
    attention = ttnn.transformer.scaled_dot_product_attention_decode
    if is_paged:
        attention = ttnn.transformer.paged_scaled_dot_product_attention_decode
        keywords["page_table_tensor"] = integers([[0]], device)
    with pytest.raises(RuntimeError, match=r"_decode: a user's position is 64 .* outside 0 … 63"):
        attention(q, k, k, **keywords)


def test_a_token_past_the_table(device: ttnn.MeshDevice) -> None:
    table = ttnn.from_torch(torch.ones(40, 32), dtype=ttnn.bfloat16, device=device)
    tokens = ttnn.from_torch(torch.tensor([[3, 40]]), dtype=ttnn.uint32, device=device)
    with pytest.raises(RuntimeError, match=r"ttnn.embedding: a token is 40 \(at \[0, 1\]\), outside 0 … 39"):
        ttnn.embedding(tokens, table)


def test_nan_among_logits(device: ttnn.MeshDevice) -> None:
    logits = torch.rand(1, 1, 32, 64)
    logits[0, 0, 3, 7] = torch.nan
    with pytest.warns(UserWarning, match="ttnn.argmax: 1 of 2048 inputs are NaN"):
        found = ttnn.argmax(ttnn.from_torch(logits, dtype=ttnn.bfloat16, device=device), dim=3)
    assert int(ttnn.to_torch(found).reshape(-1)[3]) == 7


def test_argmax_does_not_warn_of_rows_that_are_nan_throughout(mesh_device: ttnn.MeshDevice) -> None:
    """A decode step leaves NaN in the rows of users that it skips."""
    values = torch.randn(1, 1, 32, 64)
    values[:, :, 8:] = torch.nan
    skipped = ttnn.from_torch(values, dtype=ttnn.bfloat16, device=mesh_device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ttnn.to_torch(ttnn.argmax(skipped, dim=3))
    assert torch.equal(found.flatten()[:8].long(), ttnn.to_torch(skipped)[0, 0, :8].argmax(-1))
