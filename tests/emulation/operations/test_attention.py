"""Attention: heads, rotary embedding, KV cache, scaled dot products with windows, sinks, chunks and pages."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    first: int = 0,
    causal: bool = True,
    window: int | None = None,
    sink: torch.Tensor | None = None,
) -> torch.Tensor:
    """Q [B, H, S, h] at positions `first` …, k and v [B, K, T, h]; a sink [H] takes its share of every row."""
    group = q.shape[1] // k.shape[1]
    scores = q.double() @ k.double().repeat_interleave(group, 1).mT * q.shape[-1] ** -0.5
    position = torch.arange(first, first + q.shape[2])[:, None]
    other = torch.arange(k.shape[2])[None]
    hidden = torch.zeros(q.shape[2], k.shape[2], dtype=torch.bool)
    if causal:
        hidden |= other > position
    if window is not None:
        hidden |= other <= position - window
    scores = scores.masked_fill(hidden, -torch.inf)
    if sink is not None:
        scores = torch.cat([scores, sink.double().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)], -1)
    weights = scores.softmax(-1)[..., : k.shape[2]]
    return weights @ v.double().repeat_interleave(group, 1)


@settings(max_examples=6)
@given(causal=st.booleans(), kv_heads=st.sampled_from([1, 2, 4]), window=st.sampled_from([None, 16, 40]), seed=seeds)
def test_prefill(device: ttnn.MeshDevice, causal: bool, kv_heads: int, window: int | None, seed: int) -> None:
    q, k, v = (
        numbers(seed, 1, 4, 64, 32),
        numbers(seed + 1, 1, kv_heads, 64, 32),
        numbers(seed + 2, 1, kv_heads, 64, 32),
    )
    if window is not None:
        causal = True
    out = ttnn.transformer.scaled_dot_product_attention(
        *(on_tiles(it, device) for it in (q, k, v)), is_causal=causal, sliding_window_size=window
    )
    check_with_control(out, attention(q, k, v, causal=causal, window=window), atol=2e-2)
    with pytest.raises(AssertionError):
        check(out, attention(q, k, v, causal=not causal), atol=2e-2)


def test_prefill_with_a_mask(device: ttnn.MeshDevice) -> None:
    q, k, v = (numbers(seed, 1, 4, 64, 32) for seed in (1, 2, 3))
    hidden = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2)) > 0.7
    mask = torch.zeros(1, 1, 64, 64).masked_fill(hidden, -1e9)
    out = ttnn.transformer.scaled_dot_product_attention(
        *(on_tiles(it, device) for it in (q, k, v)), attn_mask=on_tiles(mask, device), is_causal=False
    )
    scores = (q.double() @ k.double().mT * 32**-0.5).masked_fill(hidden, -torch.inf)
    check_with_control(out, scores.softmax(-1) @ v.double(), atol=2e-2)


def test_prefill_with_a_sink(device: ttnn.MeshDevice) -> None:
    q, k, v, sink = numbers(1, 1, 4, 64, 32), numbers(2, 1, 1, 64, 32), numbers(3, 1, 1, 64, 32), numbers(4, 1, 4, 1, 1)
    out = ttnn.transformer.scaled_dot_product_attention(
        *(on_tiles(it, device) for it in (q, k, v)), is_causal=True, attention_sink=on_tiles(sink * 32**0.5, device)
    )
    check_with_control(out, attention(q, k, v, sink=sink.bfloat16()), atol=3e-2)
    with pytest.raises(AssertionError):
        check(out, attention(q, k, v), atol=3e-2)


@settings(max_examples=4)
@given(chunk=st.sampled_from([0, 1, 2]), seed=seeds)
def test_chunked_prefill(device: ttnn.MeshDevice, chunk: int, seed: int) -> None:
    length, block, blocks = 32, 32, 4
    q = numbers(seed, 1, 4, length, 32)
    k, v = numbers(seed + 1, 1, 2, block * blocks, 32), numbers(seed + 2, 1, 2, block * blocks, 32)
    table = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed))
    seen = (chunk + 1) * length
    in_use = torch.where(torch.arange(blocks) < seen // block, table, -1)  # there is no page behind the chunk
    out = ttnn.transformer.chunked_scaled_dot_product_attention(
        on_tiles(q, device),
        *(on_tiles(paged(it, table, block), device) for it in (k, v)),
        ttnn.from_torch(in_use[None].int(), dtype=ttnn.int32, device=device),
        chunk * length,
    )
    check_with_control(out, attention(q, k[:, :, :seen], v[:, :, :seen], first=chunk * length), atol=2e-2)


def paged(cache: torch.Tensor, table: torch.Tensor, block: int) -> torch.Tensor:
    """A cache [1, K, S, h] as blocks, block number i at table[i]."""
    blocks = cache[0].unflatten(1, (-1, block)).transpose(0, 1)
    made = torch.empty_like(blocks)
    made[table] = blocks
    return made


@pytest.mark.parametrize("is_paged", [False, True])
@settings(max_examples=4)
@given(
    window=st.sampled_from([None, 32]),
    with_sink=st.booleans(),
    positions=st.lists(st.integers(0, 127), min_size=4, max_size=4),
    seed=seeds,
)
def test_decode(
    device: ttnn.MeshDevice, is_paged: bool, window: int | None, with_sink: bool, positions: list[int], seed: int
) -> None:
    users, heads, kv_heads, length, size, block = 4, 8, 2, 128, 32, 32
    q, k, v = numbers(seed, 1, users, heads, size), *(numbers(seed + i, users, kv_heads, length, size) for i in (1, 2))
    sink = numbers(seed + 3, heads)
    keywords = {"sliding_window_size": window} if window else {}
    if with_sink:
        keywords["attention_sink"] = on_tiles((sink * size**0.5)[:, None].expand(heads, 32).contiguous(), device)
    where = ttnn.from_torch(torch.tensor(positions, dtype=torch.int32), device=device)
    if is_paged:
        table = torch.randperm(users * length // block, generator=torch.Generator().manual_seed(seed)).reshape(
            users, -1
        )
        pages = [torch.empty(users * length // block, kv_heads, block, size) for _ in range(2)]
        for user in range(users):
            for cache, made in zip((k, v), pages, strict=True):
                made[table[user]] = cache[user].unflatten(1, (-1, block)).transpose(0, 1)
        out = ttnn.transformer.paged_scaled_dot_product_attention_decode(
            on_tiles(q, device),
            *(on_tiles(it, device) for it in pages),
            ttnn.from_torch(table.int(), dtype=ttnn.int32, device=device),
            cur_pos_tensor=where,
            **keywords,
        )
    else:
        out = ttnn.transformer.scaled_dot_product_attention_decode(
            *(on_tiles(it, device) for it in (q, k, v)), cur_pos_tensor=where, **keywords
        )
    expected = torch.stack(
        [
            attention(
                q[:, user, :, None],
                k[user : user + 1, :, : position + 1],
                v[user : user + 1, :, : position + 1],
                first=position,
                window=window,
                sink=sink.bfloat16() if with_sink else None,
            )[0, :, 0]
            for user, position in enumerate(positions)
        ]
    )[None]
    check_with_control(out, expected, atol=3e-2)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, halves: bool) -> torch.Tensor:
    """Rotary embedding; pairs are halves of a head, or neighbours."""
    if halves:
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
    else:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x.double() * cos.double() + turned.double() * sin.double()


@settings(max_examples=3)
@given(length=st.sampled_from([32, 64]), seed=seeds)
def test_rotary_of_halves(device: ttnn.MeshDevice, length: int, seed: int) -> None:
    x, cos, sin = (
        numbers(seed, 1, 4, length, 64),
        numbers(seed + 1, 1, 1, length, 64),
        numbers(seed + 2, 1, 1, length, 64),
    )
    x, cos, sin = (it[..., :64] for it in (x, cos, sin))
    for operation in (ttnn.experimental.rotary_embedding, ttnn.experimental.rotary_embedding_hf):
        out = operation(*(on_tiles(it, device) for it in (x, cos, sin)))
        check_with_control(out, rotated(x, cos, sin, halves=True), atol=2e-2)


def transformation() -> torch.Tensor:
    """The matrix by which TT-NN turns pairs of neighbours."""
    made = torch.zeros(1, 1, 32, 32)
    made[..., torch.arange(0, 32, 2), torch.arange(1, 32, 2)] = 1
    made[..., torch.arange(1, 32, 2), torch.arange(0, 32, 2)] = -1
    return made


def on_cores(x: torch.Tensor, device: ttnn.MeshDevice, cores: int, *, first: int = 0) -> ttnn.Tensor:
    """One user per core, as decode has it."""
    grid = device.compute_with_storage_grid_size()
    chosen = [ttnn.CoreCoord(i % grid.x, i // grid.x) for i in range(first, first + cores)]
    config = ttnn.create_sharded_memory_config(
        (32, x.shape[-1]),
        ttnn.CoreRangeSet([ttnn.CoreRange(core, core) for core in chosen]),
        ttnn.ShardStrategy.HEIGHT,
        use_height_and_width_as_shard_shape=True,
    )
    return ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, memory_config=config)


def test_rotary_of_q_and_k_at_once(device: ttnn.MeshDevice) -> None:
    users, size = 8, 64
    q, k = numbers(1, 1, users, 4, size), numbers(2, 1, users, 2, size)
    cos, sin = numbers(3, 1, 2 * users, 1, size), numbers(4, 1, 2 * users, 1, size)
    out_q, out_k = ttnn.experimental.rotary_embedding_llama_fused_qk(
        on_cores(q, device, users),
        on_cores(k, device, users, first=users),
        on_cores(cos, device, 2 * users),
        on_cores(sin, device, 2 * users),
        on_cores(transformation().repeat(1, 1, 2 * users, 1), device, 2 * users),
    )
    check_with_control(out_q, rotated(q, cos[:, :users], sin[:, :users], halves=False), atol=2e-2)
    check_with_control(out_k, rotated(k, cos[:, users:], sin[:, users:], halves=False), atol=2e-2)


@pytest.mark.parametrize("is_paged", [False, True])
def test_both_caches_at_once(device: ttnn.MeshDevice, is_paged: bool) -> None:
    users, kv_heads, length, size, block = 4, 1, 64, 32, 32
    positions = [3, 40, -1, 63]
    k, v = numbers(1, users, kv_heads, length, size), numbers(2, users, kv_heads, length, size)
    new_k, new_v = numbers(3, 1, users, kv_heads, size), numbers(4, 1, users, kv_heads, size)
    table = torch.tensor([[5, 2], [0, 7], [1, 4], [6, 3]])
    keywords = {}
    if is_paged:
        held = []
        for cache in (k, v):
            made = torch.empty(users * length // block, kv_heads, block, size)
            for user in range(users):
                made[table[user]] = cache[user].unflatten(1, (-1, block)).transpose(0, 1)
            held.append(on_tiles(made, device))
        keywords["page_table"] = ttnn.from_torch(table.int(), dtype=ttnn.int32, device=device)
    else:
        held = [on_tiles(k, device), on_tiles(v, device)]
    ttnn.experimental.paged_fused_update_cache(
        held[0],
        on_cores(new_k, device, users),
        held[1],
        on_cores(new_v, device, users, first=users),
        update_idxs_tensor=ttnn.from_torch(torch.tensor(positions, dtype=torch.int32), device=device),
        **keywords,
    )
    for cache, new, out in ((k, new_k, held[0]), (v, new_v, held[1])):
        expected = cache.clone()
        for user, position in enumerate(positions):
            if position >= 0:
                expected[user, :, position] = new[0, user]
        if is_paged:
            read = ttnn.to_torch(out)[table].transpose(1, 2).flatten(2, 3)
            assert torch.equal(read.float(), expected)
            assert not torch.equal(read.float(), cache)
        else:
            check_with_control(out, expected, rtol=0.0, atol=0.0)


def test_update_cache_of_all_users(device: ttnn.MeshDevice) -> None:
    cache, new = numbers(1, 4, 2, 64, 32), numbers(2, 1, 2, 32, 32)
    held = on_tiles(cache, device)
    ttnn.update_cache(held, on_tiles(new, device), 40, batch_offset=0)
    expected = cache.clone()
    expected[:, :, 40] = new[0].transpose(0, 1)[:4]
    check_with_control(held, expected, rtol=0.0, atol=0.0)


@settings(max_examples=3)
@given(kv_heads=st.sampled_from([1, 2, 4]), transposed=st.booleans(), seed=seeds)
def test_heads(device: ttnn.MeshDevice, kv_heads: int, transposed: bool, seed: int) -> None:
    heads, size = 4, 32
    x = numbers(seed, 1, 1, 64, (heads + 2 * kv_heads) * size)
    out = ttnn.experimental.nlp_create_qkv_heads(
        on_tiles(x, device), num_heads=heads, num_kv_heads=kv_heads, transpose_k_heads=transposed
    )
    split = x[:, 0].unflatten(-1, (-1, size)).transpose(1, 2).split([heads, kv_heads, kv_heads], 1)
    for index, (part, expected) in enumerate(zip(out, split, strict=True)):
        wanted = expected.mT if index == 1 and transposed else expected
        check_with_control(part, wanted, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("separate", [False, True])
def test_heads_of_shards(device: ttnn.MeshDevice, separate: bool) -> None:
    heads, kv_heads, size, rows = 8, 2, 32, 32
    kinds = [
        numbers(seed, 1, 1, rows, kv_heads, count * size) for seed, count in ((1, heads // kv_heads), (2, 1), (3, 1))
    ]
    fused = [kinds[:1], kinds[1:]] if separate else [kinds]
    given = []
    for parts in fused:  # each core's own heads side by side
        x = torch.cat(parts, -1).flatten(-2)
        shard = ttnn.create_sharded_memory_config(
            (rows, x.shape[-1] // kv_heads),
            core_grid=ttnn.CoreGrid(y=1, x=kv_heads),
            strategy=ttnn.ShardStrategy.WIDTH,
            use_height_and_width_as_shard_shape=True,
        )
        given.append(ttnn.to_memory_config(on_tiles(x, device), shard))
    out = ttnn.experimental.nlp_create_qkv_heads(
        *given,
        num_heads=heads,
        num_kv_heads=kv_heads,
        transpose_k_heads=False,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )
    for part, kind in zip(out, kinds, strict=True):
        check_with_control(part, kind[:, 0].flatten(-2).unflatten(-1, (-1, size)).transpose(1, 2), rtol=0.0, atol=0.0)


def test_heads_of_falcon(device: ttnn.MeshDevice) -> None:
    heads, size = 71, 64  # those of Falcon-7B, which the operation has in its name
    x = numbers(1, 1, 1, 32, (heads + 2) * size)
    out = ttnn.experimental.nlp_create_qkv_heads_falcon7b(on_tiles(x, device))
    split = x[:, 0].unflatten(-1, (-1, size)).transpose(1, 2).split([heads, 1, 1], 1)
    for part, expected in zip(out, split, strict=True):
        check_with_control(part, expected, rtol=0.0, atol=0.0)


def test_split_query_key_value(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 2, 64, 3 * 4 * 32)
    out = ttnn.transformer.split_query_key_value_and_split_heads(on_tiles(x, device), num_heads=4)
    q, k, v = (it.unflatten(-1, (4, 32)).transpose(1, 2) for it in x.chunk(3, -1))
    for part, expected in zip(out, (q, k.mT, v), strict=True):
        check_with_control(part, expected, rtol=0.0, atol=0.0)
