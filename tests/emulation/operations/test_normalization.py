"""Norms and softmax."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)
rows_of = st.sampled_from([1, 17, 32])
columns_of = st.sampled_from([32, 64, 96])


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -2, 3)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@settings(max_examples=5)
@given(rows=rows_of, columns=columns_of, affine=st.booleans(), residual=st.booleans(), seed=seeds)
def test_norm(
    device: ttnn.MeshDevice, name: str, rows: int, columns: int, affine: bool, residual: bool, seed: int
) -> None:
    x, r = numbers(seed, 1, 1, rows, columns), numbers(seed + 1, 1, 1, rows, columns)
    weight, bias = numbers(seed + 2, 1, columns), numbers(seed + 3, 1, columns)
    keywords = {"weight": on_tiles(weight, device), "bias": on_tiles(bias, device)} if affine else {}
    if residual:
        keywords["residual_input_tensor"] = on_tiles(r, device)
    out = getattr(ttnn, name)(on_tiles(x, device), epsilon=1e-5, **keywords)
    total = x.double() + (r.double() if residual else 0)
    w, b = (weight[0].double(), bias[0].double()) if affine else (None, None)
    if name == "layer_norm":
        expected = F.layer_norm(total, (columns,), w, b, 1e-5)
    else:
        expected = F.rms_norm(total, (columns,), w, 1e-5) + (b if b is not None else 0)
    check_with_control(out, expected, atol=4e-2)


@settings(max_examples=5)
@given(rows=rows_of, columns=columns_of, dim=st.sampled_from([-1, -2, 1]), seed=seeds)
def test_softmax(device: ttnn.MeshDevice, rows: int, columns: int, dim: int, seed: int) -> None:
    x = numbers(seed, 1, 2, rows, columns)
    out = ttnn.softmax(on_tiles(x, device), dim=dim)
    check_with_control(out, x.double().softmax(dim), atol=1e-3)


def test_softmax_in_place(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 1, 2, 32, 64)
    changed = on_tiles(x, device)
    ttnn.softmax_in_place(changed)
    check_with_control(changed, x.double().softmax(-1), atol=1e-3)


@pytest.mark.parametrize("name", ["scale_mask_softmax", "scale_mask_softmax_in_place"])
def test_scaled_and_masked_softmax(device: ttnn.MeshDevice, name: str) -> None:
    x = numbers(1, 2, 4, 32, 64)
    mask = torch.where(torch.rand(2, 1, 1, 64, generator=torch.Generator().manual_seed(1)) > 0.5, 0.0, -1e9).bfloat16()
    out = getattr(ttnn, name)(on_tiles(x, device), 0.5, on_tiles(mask.float().expand(2, 1, 32, 64), device))
    check_with_control(out, (x.double() * 0.5 + mask.double()).softmax(-1), atol=1e-3)


@pytest.mark.parametrize("name", ["attention_softmax", "attention_softmax_"])
def test_attention_softmax(device: ttnn.MeshDevice, name: str) -> None:
    x = numbers(1, 2, 4, 32, 64)
    mask = torch.where(torch.rand(2, 1, 1, 64, generator=torch.Generator().manual_seed(1)) > 0.5, 0.0, -1e9).bfloat16()
    operation = getattr(ttnn.transformer, name)
    out = operation(
        on_tiles(x, device), head_size=64, attention_mask=on_tiles(mask.float().expand(2, 1, 32, 64), device)
    )
    check_with_control(out, (x.double() / 8 + mask.double()).softmax(-1), atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(device: ttnn.MeshDevice, training: bool) -> None:
    x = numbers(1, 2, 3, 32, 32)
    mean, weight, bias = (numbers(seed, 1, 3, 1, 1) for seed in (2, 3, 4))
    variance = numbers(5, 1, 3, 1, 1).abs() + 0.5
    variance = variance.bfloat16().float()
    keywords = {"running_mean": mean, "running_var": variance, "weight": weight, "bias": bias}
    out = ttnn.batch_norm(
        on_tiles(x, device),
        training=training,
        eps=1e-5,
        **{name: on_tiles(it, device) for name, it in keywords.items()},
    )
    flat = {name: it.reshape(-1).double() for name, it in keywords.items()}
    check_with_control(out, F.batch_norm(x.double(), training=training, eps=1e-5, **flat), atol=4e-2)


@settings(max_examples=3)
@given(groups=st.sampled_from([2, 4]), seed=seeds)
def test_group_norm(device: ttnn.MeshDevice, groups: int, seed: int) -> None:
    channels, side = 64, 8
    x, weight, bias = numbers(seed, 1, channels, side, side), numbers(seed + 1, channels), numbers(seed + 2, channels)
    mask = ttnn.create_group_norm_input_mask(channels, groups, 1, ttnn.DataType.BFLOAT8_B)
    out = ttnn.group_norm(
        on_tiles(x.permute(0, 2, 3, 1).reshape(1, 1, -1, channels), device),
        num_groups=groups,
        input_mask=ttnn.to_device(mask, device),
        weight=ttnn.from_torch(
            ttnn.create_group_norm_weight_bias_rm(weight, channels, 1), ttnn.bfloat16, device=device
        ),
        bias=ttnn.from_torch(ttnn.create_group_norm_weight_bias_rm(bias, channels, 1), ttnn.bfloat16, device=device),
        core_grid=ttnn.CoreGrid(y=1, x=1),
        inplace=False,
        output_layout=ttnn.TILE_LAYOUT,
        epsilon=1e-5,
    )
    expected = F.group_norm(x.double(), groups, weight.double(), bias.double(), 1e-5)
    check_with_control(out, expected.permute(0, 2, 3, 1).reshape(1, 1, -1, channels), atol=4e-2)


def test_normalize_hw(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 1, 2, 32, 64).double()
    centered = x - x.mean((-2, -1), keepdim=True)
    expected = centered / x.std((-2, -1), keepdim=True, correction=0)
    check_with_control(ttnn.normalize_hw(on_tiles(x.float(), device)), expected, atol=4e-2)
