"""Operations against PyTorch over shapes, dtypes and broadcasts; and with each a result that must not pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.comparison import assert_equal, assert_pcc

pytestmark = pytest.mark.usefixtures("exact_arithmetic")

dims = st.integers(1, 70)
seeds = st.integers(0, 2**31)

BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
}


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


@pytest.mark.parametrize("name", BINARY)
@given(batch=st.integers(1, 3), rows=dims, columns=dims, seed=seeds, broadcast=st.sampled_from(["no", "row", "column"]))
def test_binary(
    mesh_device: ttnn.MeshDevice, name: str, batch: int, rows: int, columns: int, seed: int, broadcast: str
) -> None:
    a = random(seed, 1, batch, rows, columns)
    b = random(seed + 1, 1, batch, 1 if broadcast == "row" else rows, 1 if broadcast == "column" else columns)
    out = getattr(ttnn, name)(*(tile(x, mesh_device) for x in (a, b)))
    expected = BINARY[name](a, b)
    assert_equal(out, expected.bfloat16())
    if rows * columns > 1:
        with pytest.raises(AssertionError):
            assert_equal(out, expected.flip(-1).flip(-2).bfloat16() + 1)


def tile(values: torch.Tensor, device: ttnn.MeshDevice, dtype: ttnn.DataType = ttnn.bfloat16) -> ttnn.Tensor:
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device)


@given(rows=dims, inner=dims, columns=dims, seed=seeds, bias=st.booleans())
def test_linear(mesh_device: ttnn.MeshDevice, rows: int, inner: int, columns: int, seed: int, bias: bool) -> None:
    a, b, c = (
        random(seed, 1, 1, rows, inner),
        random(seed + 1, 1, 1, inner, columns),
        random(seed + 2, 1, 1, 1, columns),
    )
    out = ttnn.linear(tile(a, mesh_device), tile(b, mesh_device), bias=tile(c, mesh_device) if bias else None)
    expected = a.double() @ b.double() + (c if bias else 0)
    # float32 sums in another order, then bfloat16
    torch.testing.assert_close(ttnn.to_torch(out).double(), expected, rtol=2**-8, atol=1e-4 * inner**0.5)


@given(rows=dims, width=st.integers(1, 4).map(lambda tiles: 32 * tiles), seed=seeds)
def test_rms_norm(mesh_device: ttnn.MeshDevice, rows: int, width: int, seed: int) -> None:
    x, weight = random(seed, 1, 1, rows, width), random(seed + 1, width)
    row_major = ttnn.from_torch(
        weight.reshape(1, 1, -1, 32), dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT, device=mesh_device
    )
    out = ttnn.rms_norm(tile(x, mesh_device), weight=row_major, epsilon=1e-5)
    expected = torch.nn.functional.rms_norm(x, (width,), weight, 1e-5)
    assert_pcc(out, expected, 0.99999)
    with pytest.raises(AssertionError):
        assert_pcc(out, torch.nn.functional.rms_norm(x, (width,), weight.flip(0), 1e-5), 0.99999)


@given(indices=st.lists(st.integers(0, 63), min_size=32, max_size=32), seed=seeds, rank=st.sampled_from([2, 4]))
def test_embedding(mesh_device: ttnn.MeshDevice, indices: list[int], seed: int, rank: int) -> None:
    table = random(seed, 64, 64)
    ids = ttnn.from_torch(torch.tensor([indices]), dtype=ttnn.uint32, device=mesh_device)
    weights = ttnn.from_torch(
        table if rank == 2 else table[None, None], dtype=ttnn.bfloat16, layout=ttnn.ROW_MAJOR_LAYOUT, device=mesh_device
    )
    assert_equal(ttnn.embedding(ids, weights, layout=ttnn.TILE_LAYOUT), table[torch.tensor([indices])].bfloat16())


MOVES: dict[str, tuple[Callable[[ttnn.Tensor], ttnn.Tensor], Callable[[torch.Tensor], torch.Tensor]]] = {
    "permute": (lambda x: ttnn.permute(x, (0, 2, 1, 3)), lambda x: x.permute(0, 2, 1, 3)),
    "transpose": (lambda x: ttnn.transpose(x, -2, -1), lambda x: x.transpose(-2, -1)),
    "concat": (lambda x: ttnn.concat([x, x], dim=-1), lambda x: torch.cat([x, x], -1)),
    "slice": (lambda x: x[:, :, :32, 32:], lambda x: x[:, :, :32, 32:]),
    "to_layout": (lambda x: ttnn.to_layout(x, ttnn.ROW_MAJOR_LAYOUT), lambda x: x),
    "untilize": (lambda x: ttnn.untilize(x), lambda x: x),
    "reshape": (lambda x: ttnn.reshape(x, (1, 1, 64, 192)), lambda x: x.reshape(1, 1, 64, 192)),
    "repeat": (lambda x: ttnn.repeat(x, (1, 1, 2, 1)), lambda x: x.repeat(1, 1, 2, 1)),
    "l1": (lambda x: ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG), lambda x: x),
    "float32": (lambda x: ttnn.typecast(x, ttnn.float32), lambda x: x),
    "argmax": (
        lambda x: ttnn.argmax(ttnn.untilize(x), dim=-1, keepdim=True),
        lambda x: x.argmax(-1, keepdim=True).to(torch.int64),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(mesh_device: ttnn.MeshDevice, name: str) -> None:
    move, expected = MOVES[name]
    values = torch.randperm(2 * 64 * 96, generator=torch.Generator().manual_seed(1)).reshape(1, 2, 64, 96) % 256
    values = values.float()
    if name == "argmax":  # one winner per row: bfloat16 holds no 96 distinct numbers at random
        values = torch.rand(1, 2, 64, 96).argsort(-1).float()
    out = ttnn.to_torch(move(tile(values, mesh_device)))
    assert torch.equal(out.double(), expected(values).double())


def test_positions_advance_in_place_and_skip_the_inactive(mesh_device: ttnn.MeshDevice) -> None:
    positions = ttnn.from_torch(torch.tensor([3, -1, 0], dtype=torch.int32), device=mesh_device)
    ttnn.plus_one(positions, skip_negative_entries=True)
    assert ttnn.to_torch(positions).tolist() == [4, -1, 1]
    ttnn.plus_one(positions)
    assert ttnn.to_torch(positions).tolist() == [5, 0, 2]
