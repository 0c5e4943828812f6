"""The attention operations of a decode step, against Tenstorrent's simulator running the kernels of the same ttnn
release.

`data/decode_attention.safetensors` holds, for four users of nine heads and three K/V heads, every intermediate the
simulator gave. Each test starts from the simulator's own input of its operation, so a difference is that operation's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import ttnn
from safetensors.torch import load_file

from pytest_ttbringup.comparison import assert_equal, assert_pcc

USERS, HEADS, KV_HEADS, SIZE, LENGTH = 4, 9, 3, 64, 64
PRECISE = 0.99999  # one rounding to bfloat16 apart (the simulator's own error against fp64 is 0.9999969)


@pytest.fixture(scope="module")
def simulator() -> dict[str, torch.Tensor]:
    return load_file(Path(__file__).parent / "data" / "decode_attention.safetensors")


@pytest.fixture
def sharded(mesh_device: ttnn.MeshDevice) -> ttnn.MemoryConfig:
    cores = ttnn.num_cores_to_corerangeset(USERS, mesh_device.compute_with_storage_grid_size(), row_wise=True)
    return ttnn.create_sharded_memory_config(
        (32, SIZE), cores, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
    )


@pytest.fixture
def place(mesh_device: ttnn.MeshDevice, simulator: dict[str, torch.Tensor]):
    def place(values: str | torch.Tensor, dtype: ttnn.DataType = ttnn.bfloat16, **how: object) -> ttnn.Tensor:
        tensor = simulator[values] if isinstance(values, str) else values
        layout = ttnn.ROW_MAJOR_LAYOUT if dtype == ttnn.int32 else ttnn.TILE_LAYOUT
        return ttnn.from_torch(tensor, dtype=dtype, layout=layout, device=mesh_device, **how)

    return place


def test_head_split(place, simulator) -> None:
    q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
        place("qkv", memory_config=ttnn.L1_MEMORY_CONFIG),
        num_heads=HEADS,
        num_kv_heads=KV_HEADS,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )
    for name, heads in zip("qkv", (q, k, v), strict=True):
        assert_equal(heads, simulator[f"heads.{name}"], name=name)


@pytest.mark.parametrize("name", ["q", "k"])
def test_rotary(place, simulator, sharded, name: str) -> None:
    tiles = ttnn.create_sharded_memory_config(
        (32, 32), sharded.shard_spec.grid, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
    )
    rotated = ttnn.experimental.rotary_embedding_llama(
        place(f"heads.{name}", memory_config=sharded),
        place("cos", memory_config=sharded),
        place("sin", memory_config=sharded),
        place(simulator["transformation"].repeat(1, 1, USERS, 1), memory_config=tiles),
        is_decode_mode=True,
    )
    assert_pcc(rotated, simulator[f"rope.{name}"], PRECISE)
    with pytest.raises(AssertionError):  # negative control: not rotated at all
        assert_pcc(simulator[f"heads.{name}"], simulator[f"rope.{name}"], PRECISE)


def paged(cache: torch.Tensor, table: torch.Tensor, block: int) -> torch.Tensor:
    """[B, K, S, h] -> [B S / block, K, block, h] with user b's page p at `table[b, p]`."""
    pages = cache.unflatten(2, (-1, block)).transpose(1, 2)
    blocks = torch.empty(table.numel(), *pages.shape[2:], dtype=cache.dtype)
    blocks[table.long().flatten()] = pages.flatten(0, 1)
    return blocks


PAGE_TABLE = torch.tensor([[5, 0], [2, 7], [6, 1], [3, 4]], dtype=torch.int32)


@pytest.mark.parametrize("layout", ["contiguous", "paged"])
@pytest.mark.parametrize(("name", "source"), [("k", "rope.k"), ("v", "heads.v")])
def test_cache_update(place, simulator, sharded, layout: str, name: str, source: str) -> None:
    after = simulator[f"{name}_cache"]
    users, positions = torch.arange(USERS), simulator["positions"].long()
    before = after.clone()
    before[users, :, positions] = 0
    table = {"page_table": place(PAGE_TABLE, ttnn.int32)} if layout == "paged" else {}
    cache = place(paged(before, PAGE_TABLE, 32) if table else before, ttnn.bfloat8_b)
    ttnn.experimental.paged_update_cache(
        cache, place(source, memory_config=sharded), update_idxs_tensor=place("positions", ttnn.int32), **table
    )
    expected = paged(after, PAGE_TABLE, 32) if table else after
    written = torch.zeros_like(after, dtype=torch.bool)
    written[users, :, positions] = True
    written = paged(written, PAGE_TABLE, 32) if table else written
    result = ttnn.to_torch(cache)
    assert_equal(result[~written], expected[~written].float(), name="rows of other positions")
    assert_equal(result[written], expected[written].float(), name="rows written")


@pytest.mark.parametrize("layout", ["contiguous", "paged"])
def test_attention(place, simulator, layout: str) -> None:
    q, position = place("rope.q"), place("positions", ttnn.int32)
    if layout == "paged":
        k, v = (place(paged(simulator[name], PAGE_TABLE, 32), ttnn.bfloat8_b) for name in ("k_cache", "v_cache"))
        out = ttnn.transformer.paged_scaled_dot_product_attention_decode(
            q, k, v, place(PAGE_TABLE, ttnn.int32), cur_pos_tensor=position, scale=SIZE**-0.5
        )
    else:
        k, v = place("k_cache", ttnn.bfloat8_b), place("v_cache", ttnn.bfloat8_b)
        out = ttnn.transformer.scaled_dot_product_attention_decode(q, k, v, cur_pos_tensor=position, scale=SIZE**-0.5)
    # the simulator's own PCC against fp32 is 0.99978: its kernel rounds probabilities and sums to bfloat16
    assert_pcc(out, simulator["sdpa"], 0.9995, axes=(None, "user", "head", "dim"))


def test_attention_at_another_position_is_another_result(place, simulator) -> None:
    k, v = place("k_cache", ttnn.bfloat8_b), place("v_cache", ttnn.bfloat8_b)
    stale = place(simulator["positions"] // 2, ttnn.int32)
    out = ttnn.transformer.scaled_dot_product_attention_decode(
        place("rope.q"), k, v, cur_pos_tensor=stale, scale=SIZE**-0.5
    )
    with pytest.raises(AssertionError):
        assert_pcc(out, simulator["sdpa"], 0.9995)


def test_a_skipped_user_writes_nothing_and_gets_nothing(place, simulator, sharded) -> None:
    positions = simulator["positions"].clone()
    positions[2] = -1
    cache, position = place("k_cache", ttnn.bfloat8_b), place(positions, ttnn.int32)
    before = ttnn.to_torch(cache)
    ttnn.experimental.paged_update_cache(cache, place("heads.v", memory_config=sharded), update_idxs_tensor=position)
    after = ttnn.to_torch(cache)
    assert torch.equal(after[2], before[2])
    assert not torch.equal(after[1], before[1])
    out = ttnn.transformer.scaled_dot_product_attention_decode(
        place("rope.q"), cache, cache, cur_pos_tensor=position, scale=SIZE**-0.5
    )
    skipped = ttnn.to_torch(out).isnan().all(dim=-1).all(dim=-1)[0]
    assert skipped.tolist() == [False, False, True, False]


def test_head_concatenation(place, simulator, sharded) -> None:
    joined = ttnn.experimental.nlp_concat_heads_decode(place("sdpa", memory_config=sharded), num_heads=HEADS)
    assert_equal(ttnn.to_torch(joined)[:, :, :USERS], simulator["concat"])
