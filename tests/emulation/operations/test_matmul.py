"""Products, and what is fused into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, on_tiles, values

sizes = st.sampled_from([1, 17, 32, 64])
seeds = st.integers(0, 2**31)


def operand(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


@pytest.mark.parametrize("name", ["matmul", "linear", "@"])
@settings(max_examples=5)
@given(rows=sizes, inner=sizes, columns=sizes, batch=st.sampled_from([(), (1, 1), (2, 3)]), seed=seeds)
def test_product(
    device: ttnn.MeshDevice, name: str, rows: int, inner: int, columns: int, batch: tuple[int, ...], seed: int
) -> None:
    a = operand(seed, *batch, rows, inner)
    b = operand(seed + 1, *(batch if name != "linear" else ()), inner, columns)
    x, y = on_tiles(a, device), on_tiles(b, device)
    out = x @ y if name == "@" else getattr(ttnn, name)(x, y)
    check_with_control(out, a.double() @ b.double(), atol=5e-2, rtol=2e-2)


@settings(max_examples=4)
@given(transposed=st.sampled_from([(True, False), (False, True), (True, True)]), seed=seeds)
def test_transposed(device: ttnn.MeshDevice, transposed: tuple[bool, bool], seed: int) -> None:
    a, b = operand(seed, 1, 1, 64, 64), operand(seed + 1, 1, 1, 64, 64)
    out = ttnn.matmul(on_tiles(a, device), on_tiles(b, device), transpose_a=transposed[0], transpose_b=transposed[1])
    left, right = (it.double().mT if flag else it.double() for it, flag in zip((a, b), transposed, strict=True))
    check_with_control(out, left @ right, atol=5e-2, rtol=2e-2)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_linear_with_bias_and_activation(device: ttnn.MeshDevice, name: str, bias: bool) -> None:
    a, b, c = operand(1, 1, 1, 32, 64), operand(2, 1, 1, 64, 96), operand(3, 1, 1, 1, 96)
    out = ttnn.linear(
        on_tiles(a, device), on_tiles(b, device), bias=on_tiles(c, device) if bias else None, activation=name
    )
    expected = ACTIVATIONS[name](a.double() @ b.double() + (c.double() if bias else 0))
    check_with_control(out, expected, atol=5e-2, rtol=2e-2)


@settings(max_examples=3)
@given(alpha=st.sampled_from([1.0, 0.5]), beta=st.sampled_from([1.0, 2.0]), seed=seeds)
def test_addmm(device: ttnn.MeshDevice, alpha: float, beta: float, seed: int) -> None:
    c, a, b = operand(seed, 32, 96), operand(seed + 1, 32, 64), operand(seed + 2, 64, 96)
    out = ttnn.addmm(*(on_tiles(it, device) for it in (c, a, b)), alpha=alpha, beta=beta)
    check_with_control(
        out, torch.addmm(c.double(), a.double(), b.double(), alpha=alpha, beta=beta), atol=5e-2, rtol=2e-2
    )


def test_outer(device: ttnn.MeshDevice) -> None:
    a, b = operand(1, 1, 1, 32, 1), operand(2, 1, 1, 1, 64)
    expected = torch.outer(a.reshape(-1).double(), b.reshape(-1).double()).reshape(1, 1, 32, 1, 64)
    check_with_control(ttnn.outer(on_tiles(a, device), on_tiles(b, device)), expected, atol=1e-2)


@pytest.mark.parametrize("bias", [False, True])
def test_minimal_matmul(device: ttnn.MeshDevice, bias: bool) -> None:
    a, b, c = operand(1, 64, 128), operand(2, 128, 96), operand(3, 1, 96)
    keywords: dict[str, Any] = {"bias_tensor": on_tiles(c, device)} if bias else {}
    expected = a.double() @ b.double() + (c.double() if bias else 0)
    out = ttnn.experimental.minimal_matmul(on_tiles(a, device), on_tiles(b, device), **keywords)
    check_with_control(out, expected, atol=5e-2, rtol=2e-2)
    parts = ttnn.experimental.minimal_matmul_split(on_tiles(a, device), on_tiles(b, device), chunks=3, **keywords)
    for part, wanted in zip(parts, expected.chunk(3, -1), strict=True):
        check_with_control(part, wanted, atol=5e-2, rtol=2e-2)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_attention_of_one_position(device: ttnn.MeshDevice, kv_heads: int) -> None:
    heads, batch, size, length = 4, 32, 64, 96
    a, b = operand(1, 1, heads, batch, size), operand(2, batch, kv_heads, size, length)
    operation = ttnn.experimental.attn_matmul if kv_heads == 1 else ttnn.experimental.group_attn_matmul
    out = operation(
        on_tiles(a, device),
        on_tiles(b, device),
        compute_with_storage_grid_size=device.compute_with_storage_grid_size(),
        dtype=ttnn.bfloat16,
    )
    expected = torch.einsum("hbk,bhkn->hbn", a[0].double(), b.double().repeat_interleave(heads // kv_heads, 1))[None]
    check_with_control(out, expected, atol=5e-2, rtol=2e-2)
