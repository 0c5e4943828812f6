"""What a prefill reads: how prompts are padded and cut, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from ttnn_models.config import ModelConfig, RopeParameters
from ttnn_models.page_table import PageTable
from ttnn_models.prefill_chunk import PrefillChunk, chunks_of, padded_rows

from pytest_ttbringup.errors import BringupError

CONFIG = ModelConfig(
    hidden_size=128,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    num_layers=1,
    intermediate_size=256,
    vocab_size=512,
    rms_norm_eps=1e-5,
    tied_embeddings=False,
    max_seq_len=192,
    rope=RopeParameters(theta=10000.0),
)


@given(length=st.integers(1, 9000), spare=st.integers(0, 40))
def test_padded_rows_hold_the_tokens_in_whole_tiles(length: int, spare: int) -> None:
    room = (-(-length // 32) + spare) * 32
    rows = padded_rows(length, room)
    assert length <= rows <= room
    assert rows % 32 == 0
    assert rows <= max(32, 2 * length)


def test_lengths_share_few_shapes() -> None:
    assert {padded_rows(length, 8192) for length in range(1, 4097)} == {
        *(32, 64, 128, 256, 512),
        *(1024, 2048, 3072, 4096),
    }


def test_a_chunk_holds_tokens_positions_and_padding(mesh_device: Any) -> None:
    chunk = PrefillChunk.of(mesh_device, CONFIG, [list(range(1, 71))], user=3, start=32)
    assert (chunk.rows, chunk.lengths, chunk.filled_rows) == (128, (70,), 96)
    assert ttnn.to_torch(chunk.last_rows).flatten().tolist() == [69] * 32
    assert ttnn.to_torch(chunk.slots).tolist() == [3]
    assert ttnn.to_torch(chunk.tokens).flatten().tolist() == [*range(1, 71), *[0] * 58]
    assert ttnn.to_torch(chunk.positions).flatten().tolist() == list(range(32, 160))


def test_a_chunk_gives_all_its_memory_back(mesh_device: Any) -> None:
    chunk = PrefillChunk.of(mesh_device, CONFIG, [[1, 2, 3]], user=3)
    tensors = [value for value in vars(chunk).values() if isinstance(value, ttnn.Tensor)]
    assert len(tensors) == 4
    chunk.free()
    assert [tensor.is_allocated() for tensor in tensors] == [False] * 4


def test_a_prompt_is_cut_into_chunks_that_fit_its_end(mesh_device: Any) -> None:
    prompt = list(range(190))
    chunks = list(chunks_of(mesh_device, CONFIG, [prompt], user=0, longest=64))
    assert [(chunk.start, chunk.lengths, chunk.rows) for chunk in chunks] == [
        (0, (64,), 64),
        (64, (64,), 64),
        (128, (62,), 64),
    ]
    tokens = torch.cat([ttnn.to_torch(chunk.tokens).flatten()[: chunk.lengths[0]] for chunk in chunks])
    assert tokens.tolist() == prompt


@pytest.mark.parametrize(
    ("tokens", "user", "start", "message"),
    [
        (0, 0, 0, r"prompt of user 0 has no token; it needs at least one"),
        (193, 0, 0, r"prompt of user 0 needs 193 positions; the KV cache holds max_seq_len = 192. Shorten the prompt"),
        (161, 4, 32, r"prompt of user 4 needs 193 positions"),
        (1, 32, 0, r"no user 32 to prefill; users are 0 to 31"),
        (1, -1, 0, r"no user -1"),
        (1, 0, 33, r"starts at position 33; K and V are written in tiles, so it must be a multiple of 32"),
    ],
    ids=["empty", "long", "long from 32", "user 32", "user -1", "inside a tile"],
)
def test_what_can_not_be_prefilled(mesh_device: Any, tokens: int, user: int, start: int, message: str) -> None:
    with pytest.raises(BringupError, match=message):
        PrefillChunk.of(mesh_device, CONFIG, [[1] * tokens], user=user, start=start)


@pytest.mark.parametrize(
    ("tokens", "longest", "message"),
    [
        (0, 64, r"prompt of user 7 has no token"),
        (193, 64, r"prompt of user 7 needs 193 positions"),
        (5, 48, r"chunk of 48 tokens must be a positive multiple of 32"),
        (5, 0, r"chunk of 0 tokens"),
    ],
    ids=["empty", "long", "48", "0"],
)
def test_prompts_that_can_not_be_cut(mesh_device: Any, tokens: int, longest: int, message: str) -> None:
    with pytest.raises(BringupError, match=message):
        next(chunks_of(mesh_device, CONFIG, [[1] * tokens], user=7, longest=longest))


@pytest.mark.parametrize("prompts", [0, 2])
def test_not_one_prompt_for_each_instance(mesh_device: Any, prompts: int) -> None:
    with pytest.raises(BringupError, match=rf"{prompts} prompts for 1 instances; a prefill reads one of each"):
        PrefillChunk.of(mesh_device, CONFIG, [[1]] * prompts, user=0)


def test_a_stretch_of_a_page_table(mesh_device: Any) -> None:
    rows = torch.arange(96).flip(0).reshape(32, 3)
    table = PageTable.from_rows(mesh_device, CONFIG, rows, block_size=64)
    assert ttnn.to_torch(table.stretch(5, 64, 65)).tolist() == rows[5:6, 1:2].tolist()
    assert ttnn.to_torch(table.stretch(31, 0, 192)).tolist() == rows[31:, :].tolist()
    with pytest.raises(BringupError, match=r"prefill from position 32 does not start with a block of 64 positions"):
        table.stretch(0, 32, 64)
