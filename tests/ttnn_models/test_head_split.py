"""Which heads each chip gets: every query head beside its KV head, whatever the numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ttnn_models.head_split import HeadSplit

from pytest_ttbringup.errors import BringupError

HEAD, HIDDEN = 4, 8


@given(kv_heads=st.integers(1, 12), group=st.integers(1, 12), chips=st.sampled_from([1, 2, 3, 4, 8, 16, 32]))
def test_every_query_head_is_once_beside_its_kv_head(kv_heads: int, group: int, chips: int) -> None:
    split = HeadSplit.of(kv_heads * group, kv_heads, chips)
    found = [head for slot in split.query_heads for head in slot if head is not None]
    assert sorted(found) == list(range(kv_heads * group))
    for kv_head, slot in zip(split.kv_heads, split.query_heads, strict=True):
        assert {head // group for head in slot if head is not None} <= {kv_head}
    assert len(split.kv_heads) == chips * split.slots
    assert split.heads * chips >= kv_heads * group


@given(kv_heads=st.integers(1, 8), group=st.integers(1, 6), chips=st.sampled_from([1, 2, 4, 8]))
def test_attention_by_chip_is_attention(kv_heads: int, group: int, chips: int) -> None:
    """Projections, grouped attention on each chip, output projection and sum: as with all heads at once."""
    generator = torch.Generator().manual_seed(kv_heads * 100 + group * 10 + chips)
    heads = kv_heads * group

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    query, key, value = random(heads * HEAD, HIDDEN), random(kv_heads * HEAD, HIDDEN), random(kv_heads * HEAD, HIDDEN)
    output, x = random(HIDDEN, heads * HEAD), random(5, HIDDEN)
    split = HeadSplit.of(heads, kv_heads, chips)
    fused = split.fused(query, key, value, HEAD).chunk(chips)
    rows = split.output(output, HEAD).chunk(chips, dim=1)
    total = sum(
        _attend(x @ part.T, split.heads, split.slots) @ columns.T for part, columns in zip(fused, rows, strict=True)
    )
    expected = _attend(x @ torch.cat([query, key, value]).T, heads, kv_heads) @ output.T
    torch.testing.assert_close(total, expected)


def _attend(qkv: torch.Tensor, heads: int, kv_heads: int) -> torch.Tensor:
    query, key, value = qkv.split([heads * HEAD, kv_heads * HEAD, kv_heads * HEAD], dim=1)
    query, key, value = (part.unflatten(1, (-1, HEAD)).transpose(0, 1) for part in (query, key, value))
    key, value = (part.repeat_interleave(heads // kv_heads, dim=0) for part in (key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "chips", "per_chip", "slots"),
    [
        pytest.param(9, 3, 2, 6, 2, id="SmolLM2 on 2"),
        pytest.param(9, 3, 4, 3, 1, id="SmolLM2 on 4"),
        pytest.param(32, 8, 8, 4, 1, id="Llama 8B on 8"),
        pytest.param(32, 8, 1, 32, 8, id="Llama 8B alone"),
        pytest.param(64, 8, 32, 2, 1, id="Llama 70B on 32"),
        pytest.param(71, 1, 8, 9, 1, id="Falcon 7B on 8"),
    ],
)
def test_the_fewest_heads(heads: int, kv_heads: int, chips: int, per_chip: int, slots: int) -> None:
    split = HeadSplit.of(heads, kv_heads, chips)
    assert (split.heads, split.slots) == (per_chip, slots)


def test_one_chip_has_the_projections_as_they_are() -> None:
    query, key, value = torch.randn(9 * HEAD, HIDDEN), torch.randn(3 * HEAD, HIDDEN), torch.randn(3 * HEAD, HIDDEN)
    split = HeadSplit.of(9, 3, 1)
    assert torch.equal(split.fused(query, key, value, HEAD), torch.cat([query, key, value]))
    assert torch.equal(split.output(query.T, HEAD), query.T)
    assert not split.padded


def test_heads_that_do_not_divide_need_padding() -> None:
    with pytest.raises(
        BringupError, match=r"2 chips: 9 heads with 3 KV heads can't .* padding is off.* 1, 3 or 9 chips"
    ):
        HeadSplit.of(9, 3, 2, pad=False)
    assert not HeadSplit.of(32, 8, 8, pad=False).padded


@given(kv_heads=st.integers(1, 8), group=st.integers(1, 6), chips=st.sampled_from([1, 2, 4, 8]))
def test_a_cache_comes_back_from_its_slots(kv_heads: int, group: int, chips: int) -> None:
    split = HeadSplit.of(kv_heads * group, kv_heads, chips)
    heads = torch.randn(2, kv_heads, 3, HEAD)
    assert torch.equal(split.from_slots(split.to_slots(heads)), heads)


def test_slots_without_a_head_are_zeros() -> None:
    split = HeadSplit.of(2, 2, 4)
    empty = [slot for slot, head in enumerate(split.kv_heads) if head is None]
    slots = split.to_slots(torch.ones(2, 2, 3, HEAD))
    assert len(empty) == 2
    assert slots.sum(dim=(0, 2, 3)).nonzero().flatten().tolist() == [it for it in range(4) if it not in empty]


def test_slots_of_one_head_must_agree() -> None:
    split = HeadSplit.of(4, 2, 4)
    slots = split.to_slots(torch.randn(2, 2, 3, HEAD))
    slots[1, 3] += 1
    with pytest.raises(AssertionError, match=r"KV head 1 is on chips 2 and 3 .* but chip 3 holds other values"):
        split.from_slots(slots)
