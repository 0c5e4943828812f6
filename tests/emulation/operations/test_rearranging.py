"""Operations that TT-NN's own tests showed to differ: folding, bits, padding, sub-tensors, distributed norms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


def in_rows(x: torch.Tensor, device: ttnn.MeshDevice, dtype: ttnn.DataType = ttnn.bfloat16) -> ttnn.Tensor:
    return ttnn.from_torch(x, dtype=dtype, device=device)


@settings(max_examples=4)
@given(stride=st.sampled_from([(2, 2), (4, 2), (1, 2)]), pad=st.booleans(), seed=seeds)
def test_fold(device: ttnn.MeshDevice, stride: tuple[int, int], pad: bool, seed: int) -> None:
    image = numbers(seed, 2, 8, 12, 16)
    pads = (2, 2, 1, 1) if pad else (0, 0, 0, 0)
    out = ttnn.fold(in_rows(image, device), *stride, padding=list(pads))
    top, bottom, left, right = pads
    padded = torch.nn.functional.pad(image, (0, 0, left, right, top, bottom))
    # PyTorch's unfold orders channels before places: [N, C sh sw, L]
    unfolded = torch.nn.functional.unfold(padded.permute(0, 3, 1, 2), stride, stride=stride)
    places = unfolded.unflatten(1, (16, -1)).permute(0, 3, 2, 1).flatten(2)
    check_with_control(out, places.reshape(tuple(out.shape)), rtol=0.0, atol=0.0)


def test_fold_by_transposes(device: ttnn.MeshDevice) -> None:
    image = numbers(1, 1, 3, 32, 32)
    out = ttnn.fold(
        in_rows(image, device),
        2,
        2,
        use_transpose_as_fold=True,
        output_shape=(1, 15, 16, 16),
        padding=[0, 0, 0, 0, 0, 1],
    )
    unfolded = torch.nn.functional.unfold(torch.nn.functional.pad(image, (0, 0, 0, 0, 0, 1)), 2, stride=2)
    places = unfolded.unflatten(1, (4, -1)).permute(0, 3, 2, 1).flatten(2).reshape(1, 16, 16, 16)
    check_with_control(out, places[:, :15], rtol=0.0, atol=0.0)


@settings(max_examples=3)
@given(alpha=st.sampled_from([0.1, 0.25, 0.9]), seed=seeds)
def test_ema(device: ttnn.MeshDevice, alpha: float, seed: int) -> None:
    x = numbers(seed, 1, 2, 32, 64)
    powers = torch.arange(64)[:, None] - torch.arange(64)
    weights = torch.where(powers >= 0, (1 - alpha) * alpha ** powers.clamp(min=0).double(), 0.0)
    check_with_control(ttnn.ema(on_tiles(x, device), alpha), x.double() @ weights.T, atol=1e-2)


BITS = [
    ([1.0, -2.5, 0.0], torch.bfloat16, torch.uint16, ttnn.bfloat16, ttnn.uint16),
    ([16457, 16429, 0], torch.uint16, torch.bfloat16, ttnn.uint16, ttnn.bfloat16),
    ([1.0, -2.5, math.pi], torch.float32, torch.uint32, ttnn.float32, ttnn.uint32),
    ([-1, 0, 7], torch.int32, torch.uint32, ttnn.int32, ttnn.uint32),
]


@pytest.mark.parametrize(("numbers_in", "torch_in", "torch_out", "dtype", "other"), BITS)
def test_bitcast(
    device: ttnn.MeshDevice, numbers_in: list[Any], torch_in: Any, torch_out: Any, dtype: Any, other: Any
) -> None:
    x = torch.tensor(numbers_in, dtype=torch_in).reshape(1, 3)
    placed = ttnn.from_torch(x, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device)
    actual = ttnn.to_torch(ttnn.bitcast(placed, other)).double()
    assert torch.equal(actual, x.view(torch_out).double())
    assert not torch.equal(actual, x.double())


def test_where_an_unsigned_predicate_holds(device: ttnn.MeshDevice) -> None:
    condition = torch.tensor([[0, 1, 2**31 - 1, 0]])
    placed = ttnn.from_torch(condition, dtype=ttnn.uint32, layout=ttnn.TILE_LAYOUT, device=device)
    check(ttnn.where(placed, 15.5, 31.25), torch.tensor([[31.25, 15.5, 15.5, 31.25]]))


def test_uint32_shifts_as_the_kernel_has_it(device: ttnn.MeshDevice) -> None:
    x = torch.tensor([[-8, 8]], dtype=torch.int32)
    a, by = (ttnn.from_torch(it, dtype=ttnn.uint32, layout=ttnn.TILE_LAYOUT, device=device) for it in (x, x * 0 + 1))
    assert ttnn.to_torch(ttnn.bitwise_right_shift(a, by)).long().tolist() == [[2**32 - 4, 4]]
    assert ttnn.to_torch(ttnn.logical_right_shift(a, by)).long().tolist() == [[2**31 - 4, 4]]


def test_padding_of_tiles(device: ttnn.MeshDevice) -> None:
    filled = ttnn.fill_implicit_tile_padding(on_tiles(torch.zeros(1, 17), device), 3.0)
    padded = torch.as_tensor(filled.cpu().to_torch_with_padded_shape()).float()
    assert padded.shape == (32, 32)
    assert padded[0, :17].eq(0).all()
    assert padded.sum() == 3 * (32 * 32 - 17)


@settings(max_examples=4)
@given(fill=st.sampled_from([0.0, 1.5, -2.0]), rows=st.sampled_from([17, 33]), columns=st.sampled_from([30, 65]))
def test_padding_read_as_values(device: ttnn.MeshDevice, fill: float, rows: int, columns: int) -> None:
    x = numbers(1, rows, columns)
    tiles = ttnn.to_layout(in_rows(x, device), ttnn.TILE_LAYOUT, pad_value=fill)
    whole = ttnn.untilize_with_unpadding(tiles, [size - 1 for size in tiles.padded_shape])
    expected = torch.nn.functional.pad(x, (0, -columns % 32, 0, -rows % 32), value=fill)
    check_with_control(whole, expected, rtol=0.0, atol=0.0)
    computed = ttnn.neg(tiles)  # leaves whatever the kernel made of the padding
    unknown = ttnn.to_torch(ttnn.untilize_with_unpadding(computed, [size - 1 for size in computed.padded_shape]))
    assert unknown[rows:].isnan().all()
    assert torch.equal(unknown[:rows, :columns].float(), -x)


def test_a_slice_bounded_by_tensors(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 32, 64)
    starts, ends = (ttnn.from_torch(torch.tensor(it), dtype=ttnn.int32, device=device) for it in ([0, 8], [16, 32]))
    by_position = ttnn.slice(in_rows(x, device), starts, ends, [2, 1])
    by_name = ttnn.slice(in_rows(x, device), starts=starts, ends=ends, slice_step=[2, 1])
    for out in (by_position, by_name):
        check_with_control(out, x[0:16:2, 8:32], rtol=0.0, atol=0.0)


@settings(max_examples=3)
@given(angle=st.sampled_from([90.0, 180.0, -90.0]), seed=seeds)
def test_rotate(device: ttnn.MeshDevice, angle: float, seed: int) -> None:
    image = numbers(seed, 1, 16, 16, 32)
    out = ttnn.rotate(in_rows(image, device), angle)
    check_with_control(out, torch.rot90(image, round(angle / 90), dims=(1, 2)), rtol=0.0, atol=0.0)


@settings(max_examples=4)
@given(is_rms=st.booleans(), sharded=st.booleans(), seed=seeds)
def test_norm_of_parts(device: ttnn.MeshDevice, is_rms: bool, sharded: bool, seed: int) -> None:
    x, gain = numbers(seed, 1, 1, 32, 256), numbers(seed + 1, 1, 1, 1, 256)
    kind = "rms_norm" if is_rms else "layer_norm"
    config = ttnn.create_sharded_memory_config(
        (32, 32), ttnn.CoreGrid(x=4, y=1), ttnn.ShardStrategy.WIDTH, use_height_and_width_as_shard_shape=True
    )
    program = ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=(4, 1), subblock_w=1, block_h=1, block_w=1, inplace=False
    )
    keywords = {"program_config": program} if sharded else {}
    parts = [on_tiles(part, device) for part in x.chunk(2, -1)]
    gains = [on_tiles(part, device) for part in gain.chunk(2, -1)]
    if sharded:
        parts = [ttnn.to_memory_config(part, config) for part in parts]
    stats = ttnn.concat([getattr(ttnn, f"{kind}_pre_all_gather")(part, **keywords) for part in parts], 3)
    if sharded:
        one_core = ttnn.create_sharded_memory_config(
            tuple(stats.shape), ttnn.CoreGrid(x=1, y=1), ttnn.ShardStrategy.WIDTH
        )
        stats = ttnn.to_memory_config(ttnn.to_memory_config(stats, ttnn.L1_MEMORY_CONFIG), one_core)
    norm = getattr(ttnn, f"{kind}_post_all_gather")
    wide = x.double()
    centered = wide if is_rms else wide - wide.mean(-1, keepdim=True)
    expected = centered * torch.rsqrt(centered.square().mean(-1, keepdim=True) + 1e-5) * gain.double()
    for part, weight, wanted in zip(parts, gains, expected.chunk(2, -1), strict=True):
        check_with_control(norm(part, stats, epsilon=1e-5, weight=weight, **keywords), wanted, atol=3e-2)


def test_the_residual_of_a_sharded_norm_is_kept(device: ttnn.MeshDevice) -> None:
    x, residual = numbers(1, 1, 1, 32, 128), numbers(2, 1, 1, 32, 128)
    config = ttnn.create_sharded_memory_config(
        (32, 32), ttnn.CoreGrid(x=4, y=1), ttnn.ShardStrategy.WIDTH, use_height_and_width_as_shard_shape=True
    )
    program = ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=(4, 1), subblock_w=1, block_h=1, block_w=1, inplace=False
    )
    held, other = (ttnn.to_memory_config(on_tiles(it, device), config) for it in (x, residual))
    stats = ttnn.rms_norm_pre_all_gather(held, residual_input_tensor=other, program_config=program)
    total = (x + residual).bfloat16().double()
    check_with_control(held, total, atol=1e-2)
    check_with_control(stats[..., :1], total.square().mean(-1, keepdim=True), atol=1e-2)


def test_tensor_to_layout_stays_on_the_device(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 2, 40, 33)
    rows = on_tiles(x, device).to(ttnn.ROW_MAJOR_LAYOUT)
    assert rows.storage_type() == ttnn.StorageType.DEVICE
    assert rows.layout == ttnn.ROW_MAJOR_LAYOUT
    check_with_control(rows, x, rtol=0.0, atol=0.0)


def test_cpu_keeps_the_memory_config(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 1, 1, 64, 32)
    config = ttnn.create_sharded_memory_config(
        (32, 32), ttnn.CoreGrid(x=2, y=1), ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
    )
    for memory in (ttnn.L1_MEMORY_CONFIG, config):
        there = ttnn.to_memory_config(on_tiles(x, device), memory)
        assert there.cpu().memory_config() == memory
        check_with_control(there.cpu().to(device), x, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("kind", ["DRAM", "L1"])
def test_a_tensor_constructed_on_the_device(device: ttnn.MeshDevice, kind: str) -> None:
    memory = getattr(ttnn, f"{kind}_MEMORY_CONFIG")  # pytest keeps parameters for good; nanobind calls that a leak
    x = numbers(1, 2, 40, 33)
    made = ttnn.Tensor(x, ttnn.bfloat16, device, ttnn.TILE_LAYOUT, memory)
    assert made.memory_config() == memory
    assert isinstance(made, ttnn.Tensor)
    assert type(made) == ttnn.Tensor  # noqa: E721 (as tests of TT-NN write it)
    check_with_control(made, x, rtol=0.0, atol=0.0)
    assert ttnn.Tensor(x, ttnn.bfloat16).storage_type() == ttnn.StorageType.HOST
    listed = ttnn.Tensor([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 4], ttnn.bfloat16, ttnn.ROW_MAJOR_LAYOUT, device)
    check(listed, torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]))


@settings(max_examples=3)
@given(rows=st.sampled_from([1, 32]), seed=seeds)
def test_a_mask_counts_with_its_first_row(device: ttnn.MeshDevice, rows: int, seed: int) -> None:
    x, mask = numbers(seed, 2, 1, 64, 96), numbers(seed + 1, 2, 1, rows, 96)
    out = ttnn.scale_mask_softmax(on_tiles(x, device), 0.5, on_tiles(mask, device))
    check_with_control(out, (x.double() * 0.5 + mask[:, :, :1].double()).softmax(-1), atol=1e-3)
