"""Operations made for one model's kernels, against what their docstrings say in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


def rms(x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


@settings(max_examples=4)
@given(
    rows=st.sampled_from([17, 64]), columns=st.sampled_from([64, 96]), kind=st.sampled_from(["silu", None]), seed=seeds
)
def test_rms_norm_then_activation(
    device: ttnn.MeshDevice, rows: int, columns: int, kind: str | None, seed: int
) -> None:
    x, gain, shift = numbers(seed, 1, 1, rows, columns), numbers(seed + 1, 1, columns), numbers(seed + 2, 1, columns)
    out = ttnn.experimental.dit_rms_norm_unary_fused(
        on_tiles(x, device), weight=on_tiles(gain, device), bias=on_tiles(shift, device), activation=kind
    )
    normed = rms(x.double()) * gain + shift
    check_with_control(out, F.silu(normed) if kind else normed, atol=2e-2)


@settings(max_examples=4)
@given(heads=st.sampled_from([1, 2]), rotated=st.booleans(), seed=seeds)
def test_norm_of_parts_then_heads(device: ttnn.MeshDevice, heads: int, rotated: bool, seed: int) -> None:
    x, gain = numbers(seed, 1, 1, 32, 256), numbers(seed + 1, 1, 256)
    size = 128 // heads
    cosine, sine = (numbers(seed + it, 1, 1, 32, size) for it in (2, 3))
    turn = torch.zeros(1, 1, 32, 32)
    even = torch.arange(0, 32, 2)
    turn[..., even, even + 1], turn[..., even + 1, even] = 1.0, -1.0
    rope = {"transformation_mat": turn, "rope_cos": cosine, "rope_sin": sine} if rotated else {}
    placed = {name: on_tiles(it, device) for name, it in rope.items()}
    parts = [on_tiles(part, device) for part in x.chunk(2, -1)]
    stats = ttnn.concat([ttnn.experimental.wan_fused_rmsnorm_pre_allgather(part) for part in parts], 3)
    wanted = (rms(x.double()) * gain)[0, 0].chunk(2, -1)
    for part, weight, rows in zip(parts, gain.chunk(2, -1), wanted, strict=True):
        out = ttnn.experimental.wan_fused_rmsnorm_post_allgather(
            part, stats, num_heads_per_device=heads, weight=on_tiles(weight, device), **placed
        )
        expected = rows.unflatten(-1, (heads, size)).transpose(0, 1).unsqueeze(0)
        if rotated:
            pairs = expected.unflatten(-1, (-1, 2))
            turned = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
            expected = expected * cosine + turned * sine
        check_with_control(out, expected, atol=4e-2)


@settings(max_examples=3)
@given(heads=st.sampled_from([1, 2]), seed=seeds)
def test_sigmoid_gated_norm(device: ttnn.MeshDevice, heads: int, seed: int) -> None:
    x, gate, weight = numbers(seed, 2 * heads, 32, 64), numbers(seed + 1, 2, 32, heads * 64), numbers(seed + 2, 64)
    out = ttnn.experimental.kda.sigmoid_gated_rms_norm(
        on_tiles(x, device), on_tiles(gate, device), on_tiles(weight, device), heads
    )
    normed = rms(x.double()) * weight
    rows = torch.cat([normed[head::heads] for head in range(heads)], dim=-1)
    check_with_control(out, rows * gate.double().sigmoid(), atol=2e-2)


@settings(max_examples=3)
@given(dim=st.sampled_from([0, 1]), seed=seeds)
def test_reduce_and_split(device: ttnn.MeshDevice, dim: int, seed: int) -> None:
    x = numbers(seed, 2, 3, 32, 96)
    first, rest = ttnn.experimental.fast_reduce_nc_split(on_tiles(x, device), dim=dim, split_output_width=32)
    total = x.double().sum(dim, keepdim=True)
    check_with_control(first, total[..., :32], atol=1e-2)
    check_with_control(rest, total[..., 32:], atol=1e-2)


def test_heads_of_pairs(device: ttnn.MeshDevice) -> None:
    fused = numbers(1, 1, 64, 64, 3 * 4 * 32)
    out = ttnn.experimental.nlp_create_qkv_heads_boltz(
        on_tiles(fused, device), num_heads=4, num_kv_heads=4, transpose_k_heads=False
    )
    for heads, part in zip(out, fused.chunk(3, dim=-1), strict=True):
        expected = torch.stack([part[0, :, :, 32 * head : 32 * head + 32] for head in range(4)])
        check_with_control(heads, expected, rtol=0.0, atol=0.0)
    joined = ttnn.experimental.nlp_concat_heads_boltz(out[0])
    check_with_control(joined, fused[..., :128], rtol=0.0, atol=0.0)


@settings(max_examples=3)
@given(seed=seeds)
def test_experts_are_chosen_by_groups(device: ttnn.MeshDevice, seed: int) -> None:
    logits, bias = numbers(seed, 1, 1, 32, 256) * 4, numbers(seed + 1, 1, 1, 32, 256)
    given_scores = on_tiles(logits, device), on_tiles(bias, device)
    weights, indices = ttnn.experimental.deepseek_grouped_gate(*given_scores, route_scale=2.5)
    check_choice(logits.sigmoid(), bias, weights, indices)


@pytest.mark.parametrize("score_func", ["sigmoid", "sqrtsoftplus"])
@settings(max_examples=2)
@given(seed=seeds)
def test_experts_are_chosen_by_groups_in_a_prefill(device: ttnn.MeshDevice, score_func: str, seed: int) -> None:
    logits, bias = numbers(seed, 1, 1, 32, 256) * 4, numbers(seed + 1, 1, 1, 32, 256)
    weights, indices = ttnn.experimental.deepseek_prefill.moe_grouped_topk(
        on_tiles(logits, device),
        on_tiles(bias, device),
        n_groups=8,
        summed_experts_per_group=2,
        topk_groups=4,
        n_activated_experts=8,
        route_scale=2.5,
        score_func=score_func,
    )
    affinity = logits.sigmoid() if score_func == "sigmoid" else (1 + logits.exp()).log().sqrt()
    check_choice(affinity, bias, weights, indices)


def test_a_router_chooses_and_weighs_experts(device: ttnn.MeshDevice) -> None:
    tokens, weights = numbers(1, 32, 64), numbers(2, 64, 128) / 8
    bias = numbers(3, 1, 128).expand(32, -1).contiguous()
    indices, shares = ttnn.experimental.topk_router_gpt(
        on_tiles(tokens, device),
        weight_tensor=on_tiles(weights, device),
        bias_tensor=on_tiles(bias, device),
        k=4,
        num_experts=128,
    )
    logits = tokens @ weights + bias
    chosen = ttnn.to_torch(indices)[:, :4].long()
    kept = logits.gather(-1, chosen)
    check_with_control(shares[:, :4], kept.softmax(-1), rtol=2e-2)
    assert (kept - logits.topk(4).values).abs().max() < 0.02  # ties in bfloat16 may fall either way


def test_experts_of_one_group_are_counted(device: ttnn.MeshDevice) -> None:
    """Of four columns of indices three count; index 16 stands for no expert, and every third expert is elsewhere."""
    chosen = torch.randint(0, 17, (64, 4), generator=torch.Generator().manual_seed(5), dtype=torch.int32)
    mask = torch.where(torch.arange(17) % 3 == 0, -1, 2).int()
    out = ttnn.experimental.deepseek_prefill.masked_bincount(
        on_tiles(chosen, device, ttnn.uint16),
        ttnn.from_torch(mask, dtype=ttnn.int32, device=device),
        16,
        3,
    )
    counts = [0 if expert % 3 == 0 else int((chosen[:, :3] == expert).sum()) for expert in range(16)]
    assert ttnn.to_torch(out).tolist() == counts
    assert all(count > 0 for expert, count in enumerate(counts) if expert % 3)


def check_choice(affinity: torch.Tensor, bias: torch.Tensor, weights: ttnn.Tensor, indices: ttnn.Tensor) -> None:
    """Eight of 256 experts, of the four of eight groups whose two best have the greatest sum, weighted to 2.5."""
    biased = affinity + bias
    best = [sum(sorted(row.tolist())[-2:]) for row in biased.reshape(-1, 32)]
    chosen = ttnn.to_torch(indices).reshape(32, 8).long()
    for token in range(32):
        sums = best[8 * token : 8 * token + 8]
        groups = sorted(range(8), key=lambda group: -sums[group])[:4]
        allowed = [expert for group in groups for expert in range(32 * group, 32 * group + 32)]
        wanted = sorted(allowed, key=lambda expert: -float(biased[0, 0, token, expert]))[:8]
        assert sorted(chosen[token].tolist()) == sorted(wanted)
    scores = affinity[0, 0].gather(-1, chosen)
    expected = (scores / scores.sum(-1, keepdim=True) * 2.5).reshape(1, 1, 32, 8)
    check_with_control(weights, expected, atol=2e-2)


@pytest.mark.parametrize("with_table", [False, True])
def test_experts_outputs_are_summed(device: ttnn.MeshDevice, with_table: bool) -> None:
    outputs, weights = numbers(1, 1, 1, 32, 8, 1024), numbers(2, 1, 1, 32, 8).abs()
    experts = torch.randint(0, 16, (1, 1, 32, 8), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    table = torch.where(torch.arange(16) % 3 == 0, -1, 1).int()
    outputs[..., 1, :], weights[..., 1] = torch.nan, 0.0  # never written, and of no weight
    table[experts[..., 1].unique().long()] = -1
    counted = table[experts.long()] >= 0 if with_table else weights != 0
    place: Callable[..., ttnn.Tensor] = ttnn.from_torch
    given_table = [
        place(experts, dtype=ttnn.uint16, device=device),
        place(table, dtype=ttnn.int32, device=device),
    ]
    out = ttnn.experimental.deepseek_prefill.post_combine_reduce(
        place(outputs, dtype=ttnn.bfloat16, device=device),
        place(weights.unsqueeze(-1), dtype=ttnn.bfloat16, device=device),
        *(given_table if with_table else []),
    )
    terms = torch.where(counted.unsqueeze(-1), outputs.nan_to_num() * weights.unsqueeze(-1), 0.0)
    check_with_control(out, terms.double().sum(3), atol=2e-2)


def test_tokens_of_an_expert_come_out_and_go_back(device: ttnn.MeshDevice) -> None:
    tokens = numbers(1, 256, 64)
    start, counts, table = [0, 64, 160], [33, 70, 5], [2, 1]
    numbers_of = [ttnn.from_torch(torch.tensor(it), dtype=ttnn.uint32, device=device) for it in (start, counts, table)]
    everyone = on_tiles(tokens, device, ttnn.bfloat8_b)
    held = ttnn.to_torch(everyone).float()
    prefill = ttnn.experimental.deepseek_prefill
    out = prefill.extract(everyone, *numbers_of, local_expert_id=1, max_dispatched_tokens_per_expert=128)
    rows = ttnn.to_torch(out).float()
    check(out[:96, :], held[64:160])
    assert not torch.equal(rows[:96], held[:96])
    target = on_tiles(torch.zeros(256, 64), device, ttnn.bfloat8_b)
    prefill.insert(target, out, *numbers_of, local_expert_id=1)
    expected = torch.zeros(256, 64)
    expected[64:160] = held[64:160]
    check_with_control(target, expected)
