"""Bytes and products against counts by hand."""

from __future__ import annotations

import pytest

from pytest_ttbringup.planning.roofline.operations import Operand, Operation
from pytest_ttbringup.planning.roofline.work import Step, Work

BFP8_TILE, BF16_TILE = 1088, 2048


def l1(*shape: int, dtype: str = "bfloat16") -> Operand:
    return Operand(shape, dtype, in_dram=False)


def dram(*shape: int, dtype: str = "bfloat16", tiled: bool = True) -> Operand:
    return Operand(shape, dtype, tiled=tiled)


def matmul(left: Operand, right: Operand, out: Operand) -> Operation:
    return Operation("MatmulDeviceOperation", (left, right), (out,), fidelity="HiFi2")


def test_a_matmul_reads_its_weights_once() -> None:
    work = Work.of(matmul(l1(1, 1, 32, 576), dram(1, 1, 576, 960, dtype="bfloat8_b"), l1(1, 1, 32, 960)))
    assert work == Work(dram=18 * 30 * BFP8_TILE, flops=2 * 32 * 576 * 960)


def test_a_matmul_of_padded_sides_multiplies_whole_tiles() -> None:
    work = Work.of(matmul(dram(1, 1, 7, 40), dram(1, 1, 40, 33), dram(1, 1, 7, 33)))
    assert work == Work(dram=(1 * 2 + 2 * 2 + 1 * 2) * BF16_TILE, flops=2 * 32 * 64 * 64)


def test_a_folded_prefill_multiplies_all_its_rows() -> None:
    work = Work.of(matmul(dram(1, 2, 1024, 576), dram(1, 1, 576, 960), dram(1, 2, 1024, 960)))
    assert work.flops == 2 * 2048 * 576 * 960


@pytest.mark.parametrize(("position", "tiles"), [(0, 1), (31, 1), (32, 2), (127, 4), (128, 5)])
def test_decode_attention_reads_the_cache_up_to_the_position(position: int, tiles: int) -> None:
    cache = dram(32, 3, 1024, 64, dtype="bfloat8_b")
    operation = Operation(
        "SdpaDecodeDeviceOperation",
        (l1(1, 32, 9, 64), cache, cache, dram(32, dtype="int32", tiled=False)),
        (l1(1, 32, 9, 64),),
        fidelity="HiFi2",
    )
    work = Work.of(operation, Step(users=5, position=position))
    # K and V: of 5 users and 3 heads, each two tiles wide
    assert work.dram == 2 * 5 * 3 * tiles * 2 * BFP8_TILE
    # q·k and p·v: of 5 users and 9 heads, for each position 64 multiplications and additions
    assert work.flops == 2 * (2 * 5 * 9 * (position + 1) * 64)


def prefill_attention(causal: bool) -> Operation:
    heads = dram(1, 3, 128, 64, dtype="bfloat8_b")
    query = dram(1, 9, 128, 64)
    return Operation("SDPAOperation", (query, heads, heads), (query,), fidelity="HiFi4", causal=causal)


def test_causal_attention_multiplies_half() -> None:
    assert Work.of(prefill_attention(causal=False)).flops == 2 * (2 * 9 * 128 * 128 * 64)
    assert Work.of(prefill_attention(causal=True)).flops == 2 * (2 * 9 * (128 * 129 / 2) * 64)
    assert Work.of(prefill_attention(causal=True)).dram == 2 * 9 * 4 * 2 * BF16_TILE + 2 * 3 * 4 * 2 * BFP8_TILE


def test_a_later_chunk_attends_to_what_is_before_it() -> None:
    cache = dram(512, 3, 64, 64, dtype="bfloat8_b")
    query = dram(1, 9, 128, 64)
    pages = dram(1, 16, dtype="int32", tiled=False)
    work = Work.of(Operation("SDPAOperation", (query, cache, cache, pages), (query,), causal=True, start=256))
    assert work.flops == 2 * (2 * 9 * (128 * 256 + 128 * 129 / 2) * 64)
    assert work.dram == 2 * 9 * 4 * 2 * BF16_TILE + 2 * 3 * 12 * 2 * BFP8_TILE


def test_an_embedding_reads_the_rows_it_looks_up() -> None:
    tokens, table = dram(1, 32, dtype="uint32", tiled=False), dram(1, 1, 49152, 576, tiled=False)
    work = Work.of(Operation("EmbeddingsDeviceOperation", (tokens, table), (l1(1, 1, 32, 576),)))
    assert work == Work(dram=32 * 4 + 32 * 576 * 2)


def test_a_norm_in_l1_reads_its_weight() -> None:
    x = l1(1, 1, 32, 576)
    work = Work.of(Operation("LayerNormDeviceOperation", (x, dram(1, 1, 18, 32, tiled=False)), (x,), fidelity="HiFi4"))
    assert work == Work(dram=576 * 2)


def test_a_cache_update_moves_a_row_of_tiles_of_each_user_and_head_both_ways() -> None:
    cache = dram(32, 3, 1024, 64, dtype="bfloat8_b")
    operation = Operation("PagedUpdateCacheDeviceOperation", (cache, l1(1, 32, 3, 64)), ())
    assert Work.of(operation, Step(users=32)) == Work(dram=2 * 32 * 3 * 2 * BFP8_TILE)


def test_a_cache_fill_writes_the_rows_it_is_given() -> None:
    cache, rows = dram(32, 3, 1024, 64, dtype="bfloat8_b"), dram(1, 3, 128, 64, dtype="bfloat8_b")
    assert Work.of(Operation("UpdateKVCacheOperation", (cache, rows), ())) == Work(dram=2 * 3 * 4 * 2 * BFP8_TILE)


def test_a_slice_reads_what_it_takes() -> None:
    operation = Operation("SliceDeviceOperation", (dram(1, 1, 128, 576),), (dram(1, 1, 32, 576),))
    assert Work.of(operation) == Work(dram=2 * 18 * BF16_TILE)


def test_an_operation_without_a_rule_moves_what_it_is_given_and_what_it_makes() -> None:
    operation = Operation("TransposeDeviceOperation", (dram(1, 1, 32, 64),), (dram(1, 32, 1, 64),))
    assert Work.of(operation) == Work(dram=2 * BF16_TILE + 32 * 2 * BF16_TILE)


def test_an_all_reduce_of_eight_chips_passes_seven_eighths_twice() -> None:
    whole, part = l1(1, 1, 32, 4096), l1(1, 1, 32, 512)
    scatter = Operation("ReduceScatterDeviceOperation", (whole,), (part, l1(2, 1, 32, 4096)))  # and room to work in
    gather = Operation("AllGatherDeviceOperation", (part,), (whole,))
    assert Work.of(scatter) == Work.of(gather) == Work(ethernet=7 / 8 * 128 * BF16_TILE)
    assert (scatter.chips, gather.chips) == (8, 8)
