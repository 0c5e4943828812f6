"""Reductions, scans, sorting and choosing."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import BF16_RTOL, Case, Setting, check, check_with_control, names, on_tiles, values, wide

REDUCTIONS = [
    Case("sum", lambda x, dim, keepdim: x.sum(dim, keepdim)),
    Case("mean", lambda x, dim, keepdim: x.mean(dim, keepdim)),
    Case("max", lambda x, dim, keepdim: x.amax(dim, keepdim)),
    Case("min", lambda x, dim, keepdim: x.amin(dim, keepdim)),
    Case("std", lambda x, dim, keepdim: x.std(dim, keepdim=keepdim)),
    Case("var", lambda x, dim, keepdim: x.var(dim, keepdim=keepdim)),
]


@pytest.mark.parametrize("case", REDUCTIONS, ids=names(REDUCTIONS))
@settings(max_examples=5)
@given(
    rows=st.sampled_from([3, 32, 65]),
    columns=st.sampled_from([2, 33, 64]),
    dim=st.sampled_from([-1, -2, 1, (-2, -1)]),
    keepdim=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_reduction(
    device: ttnn.MeshDevice, case: Case, rows: int, columns: int, dim: int | tuple[int, int], keepdim: bool, seed: int
) -> None:
    x = values(Setting((2, 3, rows, columns), "tile", ttnn.bfloat16, seed), 0.5, 3)
    out = case.operation(on_tiles(x, device), dim=dim, keepdim=keepdim)
    check_with_control(out, case.expected(x.double(), dim, keepdim), atol=1e-3)


@pytest.mark.parametrize("case", REDUCTIONS[:4], ids=names(REDUCTIONS[:4]))
def test_of_everything(device: ttnn.MeshDevice, case: Case) -> None:
    x = values(Setting((1, 2, 40, 50), "tile", ttnn.bfloat16, 5), 0.5, 3)
    everything = tuple(range(4))
    actual = ttnn.to_torch(case.operation(on_tiles(x, device))).double()
    expected = case.expected(x.double(), everything, False)
    torch.testing.assert_close(actual.reshape(()), expected, rtol=BF16_RTOL, atol=0.0)
    assert abs(float(actual) - 1.05 * float(expected)) > BF16_RTOL * abs(float(expected))


@given(dim=st.sampled_from([0, 1, 2, 3]), seed=st.integers(0, 2**31))
@settings(max_examples=4)
def test_products(device: ttnn.MeshDevice, dim: int, seed: int) -> None:
    x = values(Setting((2, 3, 32, 64), "tile", ttnn.bfloat16, seed), 0.9, 1.1)
    out = ttnn.prod(on_tiles(x, device), dim=dim, keepdim=True)
    check_with_control(out, x.double().prod(dim, keepdim=True), atol=1e-3)


SCANS = [Case("cumsum", torch.cumsum), Case("cumprod", torch.cumprod, low=0.9, high=1.1)]


@pytest.mark.parametrize("case", SCANS, ids=names(SCANS))
@settings(max_examples=4)
@given(dim=st.sampled_from([0, 1, 2, 3, -1]), seed=st.integers(0, 2**31))
def test_scans(device: ttnn.MeshDevice, case: Case, dim: int, seed: int) -> None:
    x = values(Setting((2, 3, 33, 20), "tile", ttnn.float32, seed), case.low, case.high)
    out = case.operation(on_tiles(x, device, ttnn.float32), dim=dim)
    check_with_control(out, case.expected(x.double(), dim), atol=1e-2)


@settings(max_examples=5)
@given(dim=st.sampled_from([-1, -2, 1]), keepdim=st.booleans(), seed=st.integers(0, 2**31))
def test_argmax(device: ttnn.MeshDevice, dim: int, keepdim: bool, seed: int) -> None:
    order = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(seed)).argsort(dim).float()
    x = ttnn.from_torch(order, dtype=ttnn.bfloat16, device=device)
    out = ttnn.argmax(x, dim=dim, keepdim=keepdim)
    check_with_control(out, order.argmax(dim, keepdim))


@settings(max_examples=6)
@given(k=st.sampled_from([1, 8, 32, 64]), largest=st.booleans(), seed=st.integers(0, 2**31))
def test_topk(device: ttnn.MeshDevice, k: int, largest: bool, seed: int) -> None:
    x = torch.rand(1, 1, 32, 128, generator=torch.Generator().manual_seed(seed)).argsort(-1).float()
    out, where = ttnn.topk(on_tiles(x, device), k, dim=-1, largest=largest, sorted=True)
    expected, positions = x.topk(k, -1, largest)
    check_with_control(out, expected)
    check_with_control(where, positions)


@settings(max_examples=5)
@given(descending=st.booleans(), columns=st.sampled_from([64, 128]), seed=st.integers(0, 2**31))
def test_sort(device: ttnn.MeshDevice, descending: bool, columns: int, seed: int) -> None:
    x = torch.rand(1, 1, 32, columns, generator=torch.Generator().manual_seed(seed)).argsort(-1).float()
    out, where = ttnn.sort(on_tiles(x, device), dim=-1, descending=descending)
    expected, positions = x.sort(-1, descending)
    check_with_control(out, expected)
    check_with_control(where, positions)


def test_prefix_scan(device: ttnn.MeshDevice) -> None:
    a, bx = (values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, seed), -1, 1) for seed in (1, 2))
    start = values(Setting((1, 1, 1, 64), "tile", ttnn.bfloat16, 3), -1, 1)
    core = ttnn.num_cores_to_corerangeset(1, device.compute_with_storage_grid_size(), row_wise=True)

    def on_a_core(rows: int) -> ttnn.MemoryConfig:
        spec = ttnn.ShardSpec(core, [rows, 64], ttnn.ShardOrientation.ROW_MAJOR)
        return ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.L1, spec)

    state = ttnn.from_torch(start, dtype=ttnn.bfloat16, device=device, memory_config=on_a_core(1))
    given = [ttnn.to_memory_config(on_tiles(it, device, ttnn.bfloat8_b), on_a_core(32)) for it in (a, bx)]
    out = ttnn.experimental.prefix_scan(*given, state, memory_config=on_a_core(32), dtype=ttnn.bfloat8_b)
    expected, held = [], start[0, 0, 0]
    for decay, step in zip(*(ttnn.to_torch(it)[0, 0].double() for it in given), strict=True):
        held = decay * held + step
        expected.append(held)
    check_with_control(out, torch.stack(expected)[None, None], atol=0.05)
    check_with_control(state, held[None, None, None], atol=0.02)  # from which the next chunk goes on


@settings(max_examples=3)
@given(seed=st.integers(0, 2**31), dims=st.sampled_from([(0,), (1,), (0, 1)]))
def test_fast_reduce_nc(device: ttnn.MeshDevice, seed: int, dims: tuple[int, ...]) -> None:
    x = values(Setting((2, 3, 32, 64), "tile", ttnn.bfloat16, seed), -3, 3)
    out = ttnn.experimental.fast_reduce_nc(on_tiles(x, device), dims=list(dims), output=None)
    check_with_control(out, x.double().sum(dims, keepdim=True), atol=1e-2)


def sampled(
    device: ttnn.MeshDevice, logits: torch.Tensor, k: int, p: float, temperature: float, seed: int
) -> torch.Tensor:
    indices = torch.arange(logits.shape[-1], dtype=torch.int32).expand(1, 1, 32, -1).contiguous()

    def per_user(number: float, dtype: ttnn.DataType) -> ttnn.Tensor:
        return ttnn.from_torch(torch.full((32,), number), dtype=dtype, device=device)

    out = ttnn.sampling(
        on_tiles(logits, device),
        ttnn.from_torch(indices, dtype=ttnn.int32, device=device),
        per_user(k, ttnn.uint32),
        per_user(p, ttnn.bfloat16),
        per_user(1 / temperature, ttnn.bfloat16),
        seed=seed,
    )
    return ttnn.to_torch(out).reshape(32).long()


@settings(max_examples=5)
@given(seed=st.integers(1, 2**16), k=st.sampled_from([1, 2, 8]))
def test_sampling(device: ttnn.MeshDevice, seed: int, k: int) -> None:
    logits = values(Setting((1, 1, 32, 64), "tile", ttnn.bfloat16, seed), -3, 3)
    drawn = sampled(device, logits, k, 1.0, 1.0, seed)
    allowed = logits[0, 0].topk(k, -1).values[:, -1]
    assert bool((logits[0, 0][torch.arange(32), drawn] >= allowed).all())
    assert torch.equal(drawn, sampled(device, logits, k, 1.0, 1.0, seed))
    if k == 1:
        assert torch.equal(logits[0, 0][torch.arange(32), drawn], logits[0, 0].amax(-1))
    else:
        assert not torch.equal(drawn, logits[0, 0].argmax(-1))  # 32 users would all have drawn the likeliest


def test_sampling_stays_below_p(device: ttnn.MeshDevice) -> None:
    logits = torch.full((1, 1, 32, 64), -9.0)
    logits[..., 5], logits[..., 9] = 3.0, 2.0
    assert sampled(device, logits, 32, 0.5, 1.0, 3).unique().tolist() == [5]
    assert sampled(device, logits, 32, 0.99, 1.0, 3).unique().tolist() == [5, 9]
    assert sampled(device, logits, 32, 1.0, 0.03125, 3).unique().tolist() == [5]  # cold


def test_wide_reads_are_exact(device: ttnn.MeshDevice) -> None:
    x = values(Setting((1, 1, 32, 32), "tile", ttnn.float32, 1), -3, 3)
    check(on_tiles(x, device, ttnn.float32), wide(x), rtol=0.0, atol=0.0)
