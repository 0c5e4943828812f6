"""Contiguous and paged KV caches: the same content, and sound page tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import ttnn
from ttnn_models.config import DECODE_BATCH, ModelConfig, RopeParameters
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.kv_cache import KVCache
from ttnn_models.layouts import user_sharded
from ttnn_models.page_table import PageTable
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.prefill_chunk import PrefillChunk
from ttnn_models.sdpa import sdpa_program_config

from pytest_ttbringup.errors import BringupError


def config(**changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 32,
        "num_layers": 1,
        "intermediate_size": 256,
        "vocab_size": 512,
        "rms_norm_eps": 1e-5,
        "tied_embeddings": False,
        "max_seq_len": 128,
        "rope": RopeParameters(theta=10000.0),
    }
    return ModelConfig(**{**sizes, **changes})


CONFIG = config()
SHAPE = (DECODE_BATCH, CONFIG.num_kv_heads, CONFIG.max_seq_len, CONFIG.head_dim)


def shuffled(block_size: int = 32) -> torch.Tensor:
    blocks = CONFIG.max_seq_len // block_size
    order = torch.randperm(DECODE_BATCH * blocks, generator=torch.Generator().manual_seed(0))
    return order.reshape(DECODE_BATCH, blocks)


@pytest.fixture(params=["contiguous", "paged32", "paged64"])
def cache(request: pytest.FixtureRequest, mesh_device: Any) -> KVCache:
    if request.param == "contiguous":
        return ContiguousKVCache(mesh_device, CONFIG)
    block_size = int(request.param.removeprefix("paged"))
    table = PageTable.from_rows(mesh_device, CONFIG, shuffled(block_size), block_size=block_size)
    return PagedKVCache(mesh_device, CONFIG, page_table=table)


def whole_numbers(seed: int, *shape: int) -> torch.Tensor:
    """Values that bfp8_b holds exactly."""
    return torch.randint(-60, 60, shape, generator=torch.Generator().manual_seed(seed)).float()


def test_a_new_cache_is_empty(cache: KVCache) -> None:
    keys, values = cache.to_torch()
    assert keys.shape == values.shape == SHAPE
    assert not keys.any()
    assert not values.any()


def test_what_is_loaded_is_read(cache: KVCache) -> None:
    keys, values = whole_numbers(0, *SHAPE), whole_numbers(1, *SHAPE)
    cache.load_torch(keys, values)
    read_keys, read_values = cache.to_torch()
    assert torch.equal(read_keys.float(), keys)
    assert torch.equal(read_values.float(), values)


def test_other_shapes_are_refused(cache: KVCache) -> None:
    with pytest.raises(BringupError, match=r"must have shape \[32, 2, 128, 32\]; \[1, 2, 128, 32\] given"):
        cache.load_torch(torch.zeros(SHAPE), torch.zeros(1, *SHAPE[1:]))


def test_update_writes_one_position_of_each_user(cache: KVCache, mesh_device: Any) -> None:
    keys, values = whole_numbers(0, *SHAPE), whole_numbers(1, *SHAPE)
    cache.load_torch(keys, values)
    positions = torch.arange(DECODE_BATCH) * 4 + 3  # 3 to 127
    positions[5] = -1
    new = [whole_numbers(seed, 1, DECODE_BATCH, CONFIG.num_kv_heads, CONFIG.head_dim) for seed in (2, 3)]
    key, value = (
        ttnn.from_torch(
            heads,
            dtype=ttnn.bfloat16,
            layout=ttnn.TILE_LAYOUT,
            device=mesh_device,
            memory_config=user_sharded(CONFIG.head_dim),
        )
        for heads in new
    )
    on_device = ttnn.from_torch(positions.int(), dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT, device=mesh_device)
    cache.update(key, value, on_device)
    for user in range(DECODE_BATCH):
        if user != 5:
            keys[user, :, positions[user]] = new[0][0, user]
            values[user, :, positions[user]] = new[1][0, user]
    read_keys, read_values = cache.to_torch()
    assert torch.equal(read_keys.float(), keys)
    assert torch.equal(read_values.float(), values)


@pytest.mark.parametrize(("start", "length"), [(0, 128), (0, 70), (64, 33)], ids=str)
def test_fill_writes_the_rows_of_one_user_up_to_the_last_tokens_tile(
    cache: KVCache, mesh_device: Any, start: int, length: int
) -> None:
    keys, values = whole_numbers(0, *SHAPE), whole_numbers(1, *SHAPE)
    cache.load_torch(keys, values)
    chunk = PrefillChunk.of(mesh_device, CONFIG, [[0] * length], user=7, start=start)
    new = [whole_numbers(seed, 1, CONFIG.num_kv_heads, chunk.rows, CONFIG.head_dim) for seed in (2, 3)]
    key, value = (
        ttnn.from_torch(heads, dtype=cache.dtype, layout=ttnn.TILE_LAYOUT, device=mesh_device) for heads in new
    )
    for _ in range(2):  # the tables are there for the next prefill, too
        cache.fill(key, value, chunk)
    for whole, heads in zip((keys, values), new, strict=True):
        whole[7, :, start : start + chunk.filled_rows] = heads[0, :, : chunk.filled_rows]
    read_keys, read_values = cache.to_torch()
    assert torch.equal(read_keys.float(), keys)
    assert torch.equal(read_values.float(), values)


@pytest.mark.parametrize(
    ("rows", "block_size", "message"),
    [
        (shuffled()[:31], 32, r"shape \[31, 4\]; these sizes need \[32, 4\]"),
        (shuffled().clamp(min=1), 32, r"each of the blocks 0 to 127 of a chip once"),
        (shuffled() + 1, 32, r"each of the blocks 0 to 127 of a chip once"),
        (shuffled(), 48, r"block size 48 must be a multiple of 32 that divides max_seq_len = 128"),
        (shuffled(), 256, r"block size 256 must be"),
    ],
    ids=["users", "twice", "beyond", "no tile", "too large"],
)
def test_unsound_page_tables(mesh_device: Any, rows: torch.Tensor, block_size: int, message: str) -> None:
    with pytest.raises(BringupError, match=message):
        PageTable.from_rows(mesh_device, CONFIG, rows, block_size=block_size)


@pytest.mark.parametrize(
    ("kv_heads", "rows", "cores"),
    [(1, 8, 64), (2, 8, 64), (3, 8, 32), (8, 8, 64), (8, 7, 32), (8, 10, 64)],
    ids=str,
)
def test_attention_takes_two_cores_per_user_where_they_share_evenly(kv_heads: int, rows: int, cores: int) -> None:
    device = SimpleNamespace(compute_with_storage_grid_size=lambda: ttnn.CoreCoord(8, rows))
    grid = sdpa_program_config(device, config(num_heads=24, num_kv_heads=kv_heads)).compute_with_storage_grid_size
    assert grid.x == 8
    assert grid.x * grid.y == cores


@pytest.mark.parametrize(("positions", "chunk"), [(32, 32), (96, 32), (192, 64), (128, 128), (4096, 128)], ids=str)
def test_attention_takes_positions_in_chunks_that_divide_them(positions: int, chunk: int) -> None:
    device = SimpleNamespace(compute_with_storage_grid_size=lambda: ttnn.CoreCoord(8, 8))
    assert sdpa_program_config(device, config(max_seq_len=positions)).k_chunk_size == chunk
