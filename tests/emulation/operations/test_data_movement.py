"""Operations that move values or choose among them: no rounding is allowed at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, on_tiles, placed, values


class Move(NamedTuple):
    """An operation on one tensor [2, 3, R, C] and the same in PyTorch."""

    run: Callable[[ttnn.Tensor], Any]
    expected: Callable[[torch.Tensor], torch.Tensor]
    places: tuple[str, ...] = ("tile", "row major")


def l1_interleaved(x: ttnn.Tensor) -> ttnn.Tensor:
    return ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG)


MOVES = {
    "permute": Move(lambda x: ttnn.permute(x, (0, 2, 1, 3)), lambda x: x.permute(0, 2, 1, 3)),
    "permute all": Move(lambda x: ttnn.permute(x, (3, 1, 0, 2)), lambda x: x.permute(3, 1, 0, 2)),
    "transpose": Move(lambda x: ttnn.transpose(x, -2, -1), lambda x: x.transpose(-2, -1)),
    "transpose outer": Move(lambda x: ttnn.transpose(x, 0, 1), lambda x: x.transpose(0, 1)),
    "reshape": Move(lambda x: ttnn.reshape(x, (6, -1)), lambda x: x.reshape(6, -1)),
    "Tensor.reshape": Move(lambda x: x.reshape(2, 3, -1), lambda x: x.reshape(2, 3, -1)),
    "squeeze": Move(lambda x: ttnn.squeeze(ttnn.unsqueeze(x[0], 0), 0), lambda x: x[0]),
    "unsqueeze": Move(lambda x: ttnn.unsqueeze(x[0], 1), lambda x: x[0].unsqueeze(1)),
    "concat": Move(lambda x: ttnn.concat([x, x, x], dim=-1), lambda x: torch.cat([x, x, x], -1)),
    "concat rows": Move(lambda x: ttnn.concat([x, x], dim=2), lambda x: torch.cat([x, x], 2)),
    "stack": Move(lambda x: ttnn.stack([x[0], x[0]], dim=0), lambda x: torch.stack([x[0], x[0]])),
    "slice": Move(lambda x: ttnn.slice(x, (0, 1, 0, 0), (2, 3, 32, 32)), lambda x: x[:2, 1:3, :32, :32]),
    "slice by steps": Move(
        lambda x: ttnn.slice(x, (0, 0, 0, 0), (2, 3, 32, 32), (1, 2, 1, 1)),
        lambda x: x[:2, :3:2, :32, :32],
    ),
    "index": Move(lambda x: x[:, 1:, :32, :], lambda x: x[:, 1:, :32, :]),
    "narrow": Move(lambda x: ttnn.narrow(x[:1], 0, 0, 1), lambda x: x[:1]),
    "repeat": Move(lambda x: ttnn.repeat(x, (1, 1, 2, 2)), lambda x: x.repeat(1, 1, 2, 2)),
    "repeat_interleave": Move(
        lambda x: ttnn.repeat_interleave(x, 2, dim=1), lambda x: x.repeat_interleave(2, 1), ("tile",)
    ),
    "expand": Move(lambda x: ttnn.expand(x[:1], (4, 3, -1, -1)), lambda x: x[:1].expand(4, 3, -1, -1)),
    "broadcast_to": Move(
        lambda x: ttnn.experimental.broadcast_to(x[:1], ttnn.Shape([4, 3, *list(x.shape)[2:]])),
        lambda x: x[:1].expand(4, -1, -1, -1),
        ("tile",),
    ),
    "pad": Move(
        lambda x: ttnn.pad(x, [(0, 0), (0, 0), (0, 32), (0, 32)], 7.0), lambda x: F.pad(x, (0, 32, 0, 32), value=7.0)
    ),
    "roll": Move(lambda x: ttnn.roll(x, 1, 1), lambda x: x.roll(1, 1), ("tile",)),
    "split": Move(lambda x: ttnn.split(x, 1, dim=0)[1], lambda x: x[1:2]),
    "chunk": Move(lambda x: ttnn.chunk(x, 2, dim=0)[1], lambda x: x[1:2]),
    "to_layout": Move(lambda x: ttnn.to_layout(x, ttnn.ROW_MAJOR_LAYOUT), lambda x: x),
    "to_layout tile": Move(lambda x: ttnn.to_layout(x, ttnn.TILE_LAYOUT), lambda x: x),
    "untilize": Move(lambda x: ttnn.untilize(x), lambda x: x, ("tile",)),
    "tilize": Move(lambda x: ttnn.tilize(x), lambda x: x, ("row major",)),
    "tilize_with_zero_padding": Move(lambda x: ttnn.tilize_with_zero_padding(x), lambda x: x, ("row major",)),
    "untilize_with_unpadding": Move(
        lambda x: ttnn.untilize_with_unpadding(x, (1, 2, 31, 31)), lambda x: x[:, :, :32, :32], ("tile",)
    ),
    "to_memory_config": Move(l1_interleaved, lambda x: x),
    "clone": Move(lambda x: ttnn.clone(x), lambda x: x),
    "move": Move(lambda x: ttnn.move(x), lambda x: x),
    "reallocate": Move(lambda x: ttnn.reallocate(x), lambda x: x),
    "identity": Move(lambda x: ttnn.identity(x), lambda x: x),
    "typecast float32": Move(lambda x: ttnn.typecast(x, ttnn.float32), lambda x: x, ("tile",)),
    "typecast int32": Move(lambda x: ttnn.typecast(x, ttnn.int32), lambda x: x.int(), ("tile",)),
    "typecast uint32": Move(lambda x: ttnn.typecast(x, ttnn.uint32), lambda x: x.int(), ("tile",)),
    "typecast uint16": Move(lambda x: ttnn.typecast(x, ttnn.uint16), lambda x: x.int(), ("tile",)),
    "unsqueeze_to_4D": Move(lambda x: ttnn.unsqueeze_to_4D(x[0]), lambda x: x[:1]),
    "view": Move(lambda x: ttnn.view(x, (6, 1, *list(x.shape)[2:])), lambda x: x.reshape(6, 1, *x.shape[2:])),
    "experimental.view": Move(
        lambda x: ttnn.experimental.view(x, (6, 1, *list(x.shape)[2:])), lambda x: x.reshape(6, 1, *x.shape[2:])
    ),
    "from_device": Move(lambda x: ttnn.from_device(x), lambda x: x),
    "cpu": Move(lambda x: x.cpu(), lambda x: x),
    "nlp_concat_heads": Move(
        lambda x: ttnn.experimental.nlp_concat_heads(x), lambda x: x.transpose(1, 2).flatten(-2)[:, None], ("tile",)
    ),
    "concatenate_heads": Move(
        lambda x: ttnn.transformer.concatenate_heads(x), lambda x: x.transpose(1, 2).flatten(-2), ("tile",)
    ),
    "nlp_kv_cache_load_slice": Move(
        lambda x: ttnn.experimental.nlp_kv_cache_load_slice(x, seq_len_start=0, seq_len_end=32),
        lambda x: x[:, :, :32],
        ("tile",),
    ),
}


@pytest.mark.parametrize("name", MOVES)
@settings(max_examples=4)
@given(data=st.data(), rows=st.sampled_from([32, 64]), columns=st.sampled_from([32, 64, 96]), seed=st.integers(0, 99))
def test_move(device: ttnn.MeshDevice, name: str, data: st.DataObject, rows: int, columns: int, seed: int) -> None:
    move = MOVES[name]
    setting = Setting((2, 3, rows, columns), data.draw(st.sampled_from(move.places)), ttnn.bfloat16, seed)
    x = values(setting, 0, 250).floor()
    check_with_control(move.run(placed(x, setting, device)), move.expected(x), rtol=0.0, atol=0.0)


STRATEGIES = {
    "height": (ttnn.ShardStrategy.HEIGHT, (32, 128)),
    "width": (ttnn.ShardStrategy.WIDTH, (128, 32)),
    "block": (ttnn.ShardStrategy.BLOCK, (64, 64)),
}


def sharded(strategy: str) -> ttnn.MemoryConfig:
    kind, shape = STRATEGIES[strategy]
    grid = ttnn.CoreGrid(y=2, x=2) if strategy == "block" else ttnn.CoreGrid(y=1, x=4)
    return ttnn.create_sharded_memory_config(shape, grid, kind, use_height_and_width_as_shard_shape=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("layout", [ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT])
def test_sharding_moves(device: ttnn.MeshDevice, strategy: str, layout: ttnn.Layout) -> None:
    x = values(Setting((1, 1, 128, 128), "tile", ttnn.bfloat16, 3), 0, 250).floor()
    start = ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=layout, device=device)
    there = ttnn.interleaved_to_sharded(start, sharded(strategy))
    check_with_control(there, x, rtol=0.0, atol=0.0)
    other = "width" if strategy != "width" else "height"
    check_with_control(ttnn.reshard(there, sharded(other)), x, rtol=0.0, atol=0.0)
    back = ttnn.sharded_to_interleaved(there, ttnn.DRAM_MEMORY_CONFIG)
    check_with_control(back, x, rtol=0.0, atol=0.0)
    check_with_control(ttnn.to_memory_config(there, ttnn.L1_MEMORY_CONFIG), x, rtol=0.0, atol=0.0)


def test_partial_sharding(device: ttnn.MeshDevice) -> None:
    x = values(Setting((1, 1, 128, 64), "tile", ttnn.bfloat16, 3), 0, 250).floor()
    whole, target = on_tiles(x, device), on_tiles(torch.zeros_like(x), device)
    for index in range(2):
        part = ttnn.interleaved_to_sharded_partial(
            whole,
            ttnn.CoreCoord(2, 1),
            [32, 64],
            2,
            index,
            ttnn.TensorMemoryLayout.HEIGHT_SHARDED,
            ttnn.ShardOrientation.ROW_MAJOR,
        )
        check_with_control(part, x[:, :, 64 * index : 64 * index + 64], rtol=0.0, atol=0.0)
        ttnn.sharded_to_interleaved_partial(part, target, 2, index, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    check_with_control(target, x, rtol=0.0, atol=0.0)


@settings(max_examples=4)
@given(dim=st.sampled_from([2, 3]), seed=st.integers(0, 99))
def test_gather(device: ttnn.MeshDevice, dim: int, seed: int) -> None:
    x = values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, seed), 0, 250).floor()
    index = torch.randint(0, x.shape[dim], (1, 1, 32, 64), generator=torch.Generator().manual_seed(seed))
    out = ttnn.gather(on_tiles(x, device), dim, index=on_tiles(index, device, ttnn.uint32))
    check_with_control(out, x.gather(dim, index), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("reduce", [None, "add", "multiply"])
def test_scatter(device: ttnn.MeshDevice, reduce: str | None) -> None:
    x = values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 1), 1, 9).floor()
    source = values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 2), 1, 9).floor()
    index = torch.rand(1, 1, 32, 64).argsort(-1)
    tensors = (on_tiles(x, device), on_tiles(index, device, ttnn.int32), on_tiles(source, device))
    out = ttnn.scatter(tensors[0], -1, *tensors[1:], **({"reduce": reduce} if reduce else {}))
    names = {"add": "sum", "multiply": "prod"}
    expected = (
        x.scatter(-1, index, source)
        if reduce is None
        else x.scatter_reduce(-1, index, source, names.get(reduce, reduce))
    )
    check_with_control(out, expected, rtol=0.0, atol=0.0)


def test_copy_and_assign(device: ttnn.MeshDevice) -> None:
    x = values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, 1), 0, 250).floor()
    source, target = on_tiles(x, device), on_tiles(torch.zeros_like(x), device)
    ttnn.copy(source, target)
    check_with_control(target, x, rtol=0.0, atol=0.0)
    ttnn.add_(source, 1.0)
    check_with_control(target, x, rtol=0.0, atol=0.0)
    check_with_control(ttnn.assign(target, memory_config=ttnn.L1_MEMORY_CONFIG), x, rtol=0.0, atol=0.0)


def test_slice_write(device: ttnn.MeshDevice) -> None:
    x = values(Setting((1, 4, 4, 32), "tile", ttnn.bfloat16, 1), 0, 250).floor()
    target = ttnn.from_torch(torch.zeros(1, 8, 4, 32), dtype=ttnn.bfloat16, device=device)
    source = ttnn.from_torch(x, dtype=ttnn.bfloat16, device=device)
    ttnn.experimental.slice_write(source, target, [0, 2, 0, 0], [1, 6, 4, 32], [1, 1, 1, 1])
    check_with_control(target, F.pad(x, (0, 0, 0, 0, 2, 2)), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("layout", [ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT])
@pytest.mark.parametrize("rank", [2, 4])
def test_embedding(device: ttnn.MeshDevice, layout: ttnn.Layout, rank: int) -> None:
    table = values(Setting((64, 64), "tile", ttnn.bfloat16, 1), 0, 250).floor()
    ids = torch.randint(0, 64, (2, 32))
    weights = ttnn.from_torch(table if rank == 2 else table[None, None], dtype=ttnn.bfloat16, device=device)
    out = ttnn.embedding(ttnn.from_torch(ids, dtype=ttnn.uint32, device=device), weights, layout=layout)
    check_with_control(out, table[ids], rtol=0.0, atol=0.0)


def test_fold(device: ttnn.MeshDevice) -> None:
    x = values(Setting((1, 4, 4, 16), "tile", ttnn.bfloat16, 1), 0, 250).floor()
    out = ttnn.fold(ttnn.from_torch(x, dtype=ttnn.bfloat16, device=device), 2, 2)
    expected = x.reshape(1, 2, 2, 2, 2, 16).permute(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, 64)
    check_with_control(out, expected, rtol=0.0, atol=0.0)


def test_nonzero(device: ttnn.MeshDevice) -> None:
    x = torch.zeros(1, 1, 1, 32)
    x[..., 3] = x[..., 7] = 1.0
    count, where = ttnn.nonzero(ttnn.from_torch(x, dtype=ttnn.bfloat16, device=device))
    assert int(ttnn.to_torch(count).reshape(-1)[0]) == 2
    assert ttnn.to_torch(where).reshape(-1)[:8].reshape(2, 4).tolist() == [[0, 0, 0, 3], [0, 0, 0, 7]]
