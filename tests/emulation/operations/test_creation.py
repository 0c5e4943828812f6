"""Tensors made on the device."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import check_with_control

SHAPES = st.sampled_from([(32, 32), (1, 1, 17, 33), (2, 64, 64)])
LAYOUTS = st.sampled_from([ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT])
DTYPES = [ttnn.bfloat16, ttnn.float32, ttnn.int32]

FILLED = {
    "zeros": (lambda shape, **how: ttnn.zeros(shape, **how), 0),
    "ones": (lambda shape, **how: ttnn.ones(shape, **how), 1),
    "full": (lambda shape, **how: ttnn.full(shape, fill_value=3, **how), 3),
}


@pytest.mark.parametrize("name", FILLED)
@settings(max_examples=5)
@given(shape=SHAPES, layout=LAYOUTS, dtype=st.sampled_from(DTYPES))
def test_filled(
    device: ttnn.MeshDevice, name: str, shape: tuple[int, ...], layout: ttnn.Layout, dtype: ttnn.DataType
) -> None:
    make, number = FILLED[name]
    out = make(shape, dtype=dtype, layout=layout, device=device)
    assert out.dtype == dtype
    check_with_control(out, torch.full(shape, float(number)))


@settings(max_examples=4)
@given(start=st.integers(-5, 5), length=st.sampled_from([32, 64]), step=st.sampled_from([1, 2]))
def test_arange(device: ttnn.MeshDevice, start: int, length: int, step: int) -> None:
    out = ttnn.arange(start, start + length * step, step, dtype=ttnn.int32, device=device)
    check_with_control(out, torch.arange(start, start + length * step, step))


LIKE = {"zeros_like": 0.0, "ones_like": 1.0, "full_like": 3.0}


@pytest.mark.parametrize("name", LIKE)
def test_like(device: ttnn.MeshDevice, name: str) -> None:
    source = ttnn.from_torch(torch.rand(1, 1, 32, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
    extra = {"fill_value": 3.0} if name == "full_like" else {}
    check_with_control(getattr(ttnn, name)(source, **extra), torch.full((1, 1, 32, 64), LIKE[name]))


RANDOM = {
    "rand": lambda device, seed: ttnn.rand((64, 64), device=device, seed=seed, low=-1.0, high=1.0),
    "randn": lambda device, seed: ttnn.randn((64, 64), device=device, seed=seed),
    "uniform": lambda device, seed: ttnn.uniform(
        ttnn.zeros((64, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device), -1.0, 1.0, seed
    ),
    "bernoulli": lambda device, seed: ttnn.bernoulli(
        ttnn.full((64, 64), 0.5, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device), seed
    ),
    "dropout": lambda device, seed: ttnn.experimental.dropout(
        ttnn.ones((64, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device), 0.25, 2.0, seed
    ),
}
MOMENTS = {
    "rand": (0.0, 0.577),
    "randn": (0.0, 1.0),
    "uniform": (0.0, 0.577),
    "bernoulli": (0.5, 0.5),
    "dropout": (1.5, 0.866),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random(device: ttnn.MeshDevice, name: str) -> None:
    first, again, other = (ttnn.to_torch(RANDOM[name](device, seed)).float() for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    mean, deviation = MOMENTS[name]
    assert abs(float(first.mean()) - mean) < 0.06
    assert abs(float(first.std()) - deviation) < 0.06
    assert abs(float((first + 0.2).mean()) - mean) > 0.06


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_unseeded_random_numbers_follow_the_seed_of_pytorch(device: ttnn.MeshDevice, name: str) -> None:
    torch.manual_seed(3)
    first = ttnn.to_torch(RANDOM[name](device, 0))
    second = ttnn.to_torch(RANDOM[name](device, 0))
    torch.manual_seed(3)
    assert torch.equal(first, ttnn.to_torch(RANDOM[name](device, 0)))
    assert not torch.equal(first, second)
