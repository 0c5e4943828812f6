"""Operations of a transformer block, with the options that models use: heads, rotary embedding, residuals, windows."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)
few = settings(max_examples=3)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


@few
@given(users=st.sampled_from([8, 32]), kv_heads=st.sampled_from([1, 2, 4]), seed=seeds)
def test_decode_heads(device: ttnn.MeshDevice, users: int, kv_heads: int, seed: int) -> None:
    heads, size = 4, 32
    x = numbers(seed, 1, 1, users, (heads + 2 * kv_heads) * size)
    q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
        on_tiles(x, device),
        num_heads=heads,
        num_kv_heads=kv_heads,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )
    split = x[0, 0].reshape(users, -1, size).split([heads, kv_heads, kv_heads], 1)
    for part, expected in zip((q, k, v), split, strict=True):
        check_with_control(part, expected[None], rtol=0.0, atol=0.0)
    with pytest.raises(AssertionError):
        check(k, split[2][None], rtol=0.0, atol=0.0)
    joined = ttnn.experimental.nlp_concat_heads_decode(q, num_heads=heads)
    check_with_control(joined[:, :, :users], split[0].reshape(1, 1, users, -1), rtol=0.0, atol=0.0)


@few
@given(heads=st.sampled_from([1, 4]), length=st.sampled_from([32, 64]), seed=seeds)
def test_rotary_prefill(device: ttnn.MeshDevice, heads: int, length: int, seed: int) -> None:
    x = numbers(seed, 1, heads, length, 64)
    angles = torch.arange(length)[:, None] * 10_000.0 ** (-torch.arange(0, 64, 2) / 64)
    cos, sin = (it.repeat_interleave(2, -1)[None, None] for it in (angles.cos(), angles.sin()))
    turn = torch.zeros(1, 1, 32, 32)
    turn[..., torch.arange(0, 32, 2), torch.arange(1, 32, 2)] = 1
    turn[..., torch.arange(1, 32, 2), torch.arange(0, 32, 2)] = -1
    out = ttnn.experimental.rotary_embedding_llama(
        *(on_tiles(it, device) for it in (x, cos, sin, turn)), is_decode_mode=False
    )
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * torch.polar(torch.ones(()).double(), angles.double())).flatten(-2)
    check_with_control(out, turned, atol=2e-2)
    if length > 1:
        with pytest.raises(AssertionError):
            check(out, x.double(), atol=2e-2)  # not turned at all


@few
@given(name=st.sampled_from(["rms_norm", "layer_norm"]), seed=seeds)
def test_norm_of_a_sum(device: ttnn.MeshDevice, name: str, seed: int) -> None:
    x, residual, gain = numbers(seed, 1, 1, 32, 96), numbers(seed + 1, 1, 1, 32, 96), numbers(seed + 2, 1, 1, 1, 96)
    held = on_tiles(x, device)
    out = getattr(ttnn, name)(
        held, residual_input_tensor=on_tiles(residual, device), weight=on_tiles(gain, device), epsilon=1e-5
    )
    total = (x + residual).double()
    if name == "layer_norm":
        total = total - total.mean(-1, keepdim=True)
    wanted = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-5) * gain.double()
    check_with_control(out, wanted, atol=5e-2)
    check(held, x, rtol=0.0, atol=0.0)  # the sum is not left in the input


@few
@given(window=st.sampled_from([8, 16, 32]), position=st.integers(40, 63), seed=seeds)
def test_a_window_in_decode(device: ttnn.MeshDevice, window: int, position: int, seed: int) -> None:
    q, k, v = numbers(seed, 1, 1, 4, 32), numbers(seed + 1, 1, 2, 64, 32), numbers(seed + 2, 1, 2, 64, 32)
    out = ttnn.transformer.scaled_dot_product_attention_decode(
        *(on_tiles(it, device) for it in (q, k, v)),
        cur_pos_tensor=ttnn.from_torch(torch.tensor([position]), dtype=ttnn.int32, device=device),
        sliding_window_size=window,
    )

    def attended(first: int) -> torch.Tensor:
        keys, held = (it[0, :, first : position + 1].double().repeat_interleave(2, 0) for it in (k, v))
        weights = (q[0, 0, :, None].double() @ keys.mT * 32**-0.5).softmax(-1)
        return (weights @ held)[None, None, :, 0]

    check_with_control(out, attended(position - window + 1), atol=3e-2)
    with pytest.raises(AssertionError):
        check(out, attended(0), atol=1e-2)
