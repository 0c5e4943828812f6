"""Attention in exact arithmetic is the softmax over what the mask shows, however it is computed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionMask, AttentionSetting
from pytest_ttbringup.emulation.arithmetic.exact import Exact

sizes = st.integers(1, 9)


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, looks: torch.Tensor, scale: float) -> torch.Tensor:
    """In float64, from the matrix of what each query looks at, [B or 1, M, S]."""
    group = q.shape[1] // k.shape[1]
    keys, values = (it.double().repeat_interleave(group, dim=1) for it in (k, v))
    scores = (q.double() @ keys.mT * scale).masked_fill(~looks[:, None], float("-inf"))
    return scores.softmax(dim=-1) @ values


@pytest.mark.parametrize("window", [None, 1, 3])
@given(users=sizes, kv_heads=st.integers(1, 3), group=st.integers(1, 3), keys=st.integers(3, 9), data=st.data())
def test_decode(window: int | None, users: int, kv_heads: int, group: int, keys: int, data: st.DataObject) -> None:
    q, k, v = (torch.randn(users, *shape, 8) for shape in ((kv_heads * group, 1), (kv_heads, keys), (kv_heads, keys)))
    last = torch.tensor(data.draw(st.lists(st.integers(-1, keys - 1), min_size=users, max_size=users)))[:, None]
    setting = AttentionSetting.for_decode(0.3, keys, None, None, half_tiles=False, cache=keys)
    index = torch.arange(keys)
    looks = (index <= last) & (index > last - (window or keys + 1))
    out = Exact().attention(q, k, v, AttentionMask(last, window), setting).double()
    torch.testing.assert_close(out, by_hand(q, k, v, looks[:, None], 0.3), rtol=1e-5, atol=1e-5, equal_nan=True)
    assert out.isnan().flatten(1).all(dim=1).tolist() == (last[:, 0] < 0).tolist()


@pytest.mark.parametrize("last", [[-1, 2, -1, -1], [-1, -1, -1, -1], [4, -1, 0, -1], [-1]])
def test_decode_where_few_users_look(last: list[int]) -> None:
    """Whatever lies where nobody looks, in other users' keys and behind one's own."""
    positions, index = torch.tensor(last)[:, None], torch.arange(5)
    q, k, v = (torch.randn(len(last), *shape, 8) for shape in ((4, 1), (2, 5), (2, 5)))
    looks = index <= positions
    k[positions[:, 0] < 0] = torch.nan
    setting = AttentionSetting.for_decode(0.3, 5, None, None, half_tiles=False, cache=5)
    out = Exact().attention(q, k, v, AttentionMask(positions), setting).double()
    expected = by_hand(q, k, v, looks[:, None], 0.3)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert out.isnan().flatten(1).all(dim=1).tolist() == [it < 0 for it in last]


@given(kv_heads=st.integers(1, 3), group=st.integers(1, 3), queries=sizes, data=st.data())
def test_prefill(kv_heads: int, group: int, queries: int, data: st.DataObject) -> None:
    causal = data.draw(st.booleans())
    keys = queries if causal else data.draw(sizes)
    mask = AttentionMask.causal(queries) if causal else AttentionMask()
    q, k, v = (torch.randn(2, heads, rows, 8) for heads, rows in ((kv_heads * group, queries), *[(kv_heads, keys)] * 2))
    out = Exact().attention(q, k, v, mask, AttentionSetting.for_prefill(0.3, None, None)).double()
    looks = (torch.ones(queries, keys).tril() if causal else torch.ones(queries, keys)).bool()
    torch.testing.assert_close(out, by_hand(q, k, v, looks[None], 0.3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("last", [[[0, 1, 2]], [[2, 2, 2]], [[0, -1, 1]]])
def test_prefill_with_other_masks(last: list[list[int]]) -> None:
    q, k, v = (torch.randn(1, heads, 3, 8) for heads in (4, 2, 2))
    mask = AttentionMask(torch.tensor(last))
    out = Exact().attention(q, k, v, mask, AttentionSetting.for_prefill(0.3, None, None)).double()
    looks = ~mask.hidden(3, 3)
    assert looks.sum(dim=-1).tolist() == [[it + 1 for it in last[0]]]
    torch.testing.assert_close(out, by_hand(q, k, v, looks, 0.3), rtol=1e-5, atol=1e-5, equal_nan=True)
