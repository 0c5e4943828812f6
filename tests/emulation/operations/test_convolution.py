"""Convolutions, their prepared weights, and pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, values

SMALL = [{"l1_small_size": 32768}]
seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


def as_rows(image: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [1, 1, N H W, C], as TT-NN has images."""
    return image.permute(0, 2, 3, 1).reshape(1, 1, -1, image.shape[1])


def on_device(image: torch.Tensor, device: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.from_torch(as_rows(image), dtype=ttnn.bfloat16, device=device)


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
@settings(max_examples=6)
@given(
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1]),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    activation=st.sampled_from([None, "RELU", "SILU"]),
    seed=seeds,
)
def test_conv2d(
    device: ttnn.MeshDevice,
    kernel: int,
    stride: int,
    padding: int,
    groups: int,
    bias: bool,
    activation: str | None,
    seed: int,
) -> None:
    n, c, o, size = 2, 32, 64, 8
    padding = padding if kernel > 1 else 0
    x, w, b = numbers(seed, n, c, size, size), numbers(seed + 1, o, c // groups, kernel, kernel), numbers(seed + 2, o)
    common: dict[str, Any] = {
        "in_channels": c,
        "out_channels": o,
        "batch_size": n,
        "input_height": size,
        "input_width": size,
        "kernel_size": (kernel, kernel),
        "stride": (stride, stride),
        "padding": (padding, padding),
        "groups": groups,
        "device": device,
    }
    if activation:
        kind = ttnn.UnaryWithParam(getattr(ttnn.UnaryOpType, activation))
        common["conv_config"] = ttnn.Conv2dConfig(weights_dtype=ttnn.bfloat16, activation=kind)
    out, (height, width), (weights, prepared_bias) = ttnn.conv2d(
        input_tensor=on_device(x, device),
        weight_tensor=ttnn.from_torch(w, dtype=ttnn.bfloat16),
        bias_tensor=ttnn.from_torch(b.reshape(1, 1, 1, -1), dtype=ttnn.bfloat16) if bias else None,
        return_output_dim=True,
        return_weights_and_bias=True,
        **common,
    )
    expected = F.conv2d(x.double(), w.double(), b.double() if bias else None, stride, padding, groups=groups)
    if activation:
        expected = {"RELU": torch.relu, "SILU": F.silu}[activation](expected)
    assert (height, width) == tuple(expected.shape[2:])
    check_with_control(out, as_rows(expected), rtol=2e-2, atol=5e-2)
    again = ttnn.conv2d(
        input_tensor=on_device(x, device), weight_tensor=weights, bias_tensor=prepared_bias if bias else None, **common
    )
    assert torch.equal(ttnn.to_torch(again), ttnn.to_torch(out))


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
def test_weights_prepared_beforehand(device: ttnn.MeshDevice) -> None:
    x, w = numbers(1, 1, 32, 8, 8), numbers(2, 32, 32, 3, 3)
    shape: dict[str, Any] = {
        "in_channels": 32,
        "out_channels": 32,
        "batch_size": 1,
        "input_height": 8,
        "input_width": 8,
        "kernel_size": [3, 3],
        "stride": [1, 1],
        "padding": [1, 1],
        "dilation": [1, 1],
        "groups": 1,
        "device": device,
    }
    rows = on_device(x, device)
    prepared = ttnn.prepare_conv_weights(
        weight_tensor=ttnn.from_torch(w, dtype=ttnn.bfloat16),
        input_memory_config=rows.memory_config(),
        input_layout=rows.layout,
        weights_format="OIHW",
        has_bias=False,
        input_dtype=ttnn.bfloat16,
        **shape,
    )
    out = ttnn.conv2d(input_tensor=rows, weight_tensor=prepared, **shape)
    check_with_control(out, as_rows(F.conv2d(x.double(), w.double(), padding=1)), rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
@settings(max_examples=3)
@given(stride=st.sampled_from([1, 2]), seed=seeds)
def test_conv1d(device: ttnn.MeshDevice, stride: int, seed: int) -> None:
    x, w = numbers(seed, 2, 32, 64), numbers(seed + 1, 32, 32, 3)
    out = ttnn.conv1d(
        input_tensor=ttnn.from_torch(x.transpose(1, 2), dtype=ttnn.bfloat16, device=device),
        weight_tensor=ttnn.from_torch(w, dtype=ttnn.bfloat16),
        in_channels=32,
        out_channels=32,
        batch_size=2,
        input_length=64,
        kernel_size=3,
        stride=stride,
        padding=1,
        device=device,
    )
    expected = F.conv1d(x.double(), w.double(), None, stride, 1).transpose(1, 2).reshape(1, 1, -1, 32)
    check_with_control(out, expected, rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
@pytest.mark.parametrize("mirrored", [False, True])
def test_conv_transpose2d(device: ttnn.MeshDevice, mirrored: bool) -> None:
    x, w = numbers(1, 1, 32, 8, 8), numbers(2, 32, 32, 3, 3)
    out = ttnn.conv_transpose2d(
        input_tensor=on_device(x, device),
        weight_tensor=ttnn.from_torch(w.flip(-1, -2) if mirrored else w, dtype=ttnn.bfloat16),
        in_channels=32,
        out_channels=32,
        batch_size=1,
        input_height=8,
        input_width=8,
        kernel_size=(3, 3),
        stride=(2, 2),
        padding=(1, 1),
        output_padding=(1, 1),
        mirror_kernel=not mirrored,
        device=device,
    )
    expected = F.conv_transpose2d(x.double(), w.double(), stride=2, padding=1, output_padding=1)
    check_with_control(out, as_rows(expected), rtol=2e-2, atol=5e-2)


POOLS: dict[str, tuple[Callable[..., torch.Tensor], dict[str, Any]]] = {
    "max_pool2d": (F.max_pool2d, {"dilation": [1, 1]}),
    "avg_pool2d": (F.avg_pool2d, {}),
}


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
@pytest.mark.parametrize("name", POOLS)
@settings(max_examples=6)
@given(
    size=st.sampled_from([8, 9]),
    kernel=st.sampled_from([2, 3]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1]),
    ceil_mode=st.booleans(),
    seed=seeds,
)
def test_pool(
    device: ttnn.MeshDevice, name: str, size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, seed: int
) -> None:
    function, keywords = POOLS[name]
    x = numbers(seed, 1, 32, size, size)
    out = getattr(ttnn, name)(
        input_tensor=on_device(x, device),
        batch_size=1,
        input_h=size,
        input_w=size,
        channels=32,
        kernel_size=[kernel, kernel],
        stride=[stride, stride],
        padding=[padding, padding],
        ceil_mode=ceil_mode,
        **keywords,
    )
    expected = function(x.double(), kernel, stride, padding, ceil_mode=ceil_mode)
    check_with_control(out, as_rows(expected), atol=1e-2)


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_pool(device: ttnn.MeshDevice, name: str) -> None:
    x = numbers(1, 1, 32, 8, 8)
    out = getattr(ttnn, name)(
        input_tensor=on_device(x, device), batch_size=1, input_h=8, input_w=8, channels=32, output_size=[2, 2]
    )
    check_with_control(out, as_rows(getattr(F, name)(x.double(), (2, 2))), atol=1e-2)


def test_global_pool(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 2, 32, 8, 8)
    out = ttnn.global_avg_pool2d(ttnn.from_torch(x.permute(0, 2, 3, 1), dtype=ttnn.bfloat16, device=device))
    check_with_control(out, x.double().mean((2, 3))[:, None, None], atol=1e-2)


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
def test_upsample(device: ttnn.MeshDevice) -> None:
    x = numbers(1, 1, 32, 4, 4)
    out = ttnn.upsample(ttnn.from_torch(x.permute(0, 2, 3, 1), dtype=ttnn.bfloat16, device=device), 2)
    check_with_control(out, F.interpolate(x, scale_factor=2, mode="nearest").permute(0, 2, 3, 1))


@pytest.mark.parametrize("device_params", SMALL, indirect=True)
def test_grid_sample(device: ttnn.MeshDevice) -> None:
    x, grid = numbers(1, 1, 32, 8, 8), values(Setting((1, 4, 4, 2), "tile", ttnn.bfloat16, 3), -0.9, 0.9)
    out = ttnn.grid_sample(
        ttnn.from_torch(x.permute(0, 2, 3, 1), dtype=ttnn.bfloat16, device=device),
        ttnn.from_torch(grid, dtype=ttnn.bfloat16, device=device),
    )
    expected = F.grid_sample(x.double(), grid.double(), align_corners=False).permute(0, 2, 3, 1)
    check_with_control(out, expected, atol=1e-2)


@settings(max_examples=4)
@given(groups=st.sampled_from([1, 2]), mode=st.sampled_from(["zeros", "replicate"]), pad=st.integers(0, 1), seed=seeds)
def test_conv3d(device: ttnn.MeshDevice, groups: int, mode: str, pad: int, seed: int) -> None:
    volume = values(Setting((1, 4, 6, 5, 32), "row major", ttnn.bfloat16, seed), -1, 1)
    weights = values(Setting((32, 32 // groups, 3, 3, 3), "row major", ttnn.bfloat16, seed + 1), -0.1, 0.1)
    prepared = ttnn.experimental.prepare_conv3d_weights(
        weight_tensor=ttnn.from_torch(weights, dtype=ttnn.bfloat16), groups=groups, C_in_block=32, device=device
    )
    out = ttnn.experimental.conv3d(
        input_tensor=ttnn.from_torch(volume, dtype=ttnn.bfloat16, device=device),
        weight_tensor=prepared,
        device=device,
        config=ttnn.Conv3dConfig(
            weights_dtype=ttnn.bfloat16,
            output_layout=ttnn.ROW_MAJOR_LAYOUT,
            T_out_block=1,
            W_out_block=1,
            H_out_block=1,
            C_out_block=32,
            C_in_block=32,
            compute_with_storage_grid_size=(1, 1),
        ),
        dtype=ttnn.bfloat16,
        output_channels=32,
        kernel_size=(3, 3, 3),
        stride=(1, 1, 1),
        padding=(pad, pad, pad),
        padding_mode=mode,
        groups=groups,
    )
    padded = torch.nn.functional.pad(
        volume.double().permute(0, 4, 1, 2, 3), [pad] * 6, mode="constant" if mode == "zeros" else mode
    )
    expected = torch.nn.functional.conv3d(padded, weights.double(), groups=groups).permute(0, 2, 3, 4, 1)
    check_with_control(out, expected, rtol=2e-2, atol=2e-2)
