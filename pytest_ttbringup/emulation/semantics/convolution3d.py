"""Convolutions of volumes [N, D, H, W, C], with weights that TT-NN lays out beforehand.

Here prepared weights are kernel position by input channel (of all groups, filled up to a whole number of the device's)
times output channel; the device's have the channels in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.experimental.prepare_conv3d_weights")
def prepare_conv3d_weights(call: Call, *, weight_tensor: torch.Tensor, groups: int = 1, **_: Any) -> torch.Tensor:
    """[O, C / G, kd, kh, kw] -> [kd kh kw C', O']; what a group does not use is zero."""
    import torch

    rows, columns = tuple(call.output.shape)[-2:]
    outputs, each, *kernel = weight_tensor.shape
    dense = weight_tensor.new_zeros(outputs, groups, each, *kernel)
    group = torch.arange(outputs) // (outputs // groups)
    dense[torch.arange(outputs), group] = weight_tensor
    ordered = dense.flatten(1, 2).permute(2, 3, 4, 1, 0).flatten(0, 2)  # [kd kh kw, C, O]
    filled = rows // ordered.shape[0] - ordered.shape[1]
    padded = torch.nn.functional.pad(ordered, (0, columns - outputs, 0, filled))
    return padded.reshape(tuple(call.output.shape))


@semantics(
    "ttnn.experimental.conv3d",
    refuses=("halo_buffer", "logical_h_mask", "logical_w_mask", "pad_offset_tensor", "output_pad_h", "output_pad_w"),
)
def conv3d(
    call: Call,
    *,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    bias_tensor: torch.Tensor | None = None,
    output_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    padding_mode: str = "zeros",
    groups: int = 1,
    weight_lo_tensor: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """[N, D, H, W, C] -> [N, D', H', W', O]; weights may come unprepared, or in two parts whose sum counts."""
    import torch

    weights = weight_tensor if weight_lo_tensor is None else weight_tensor + weight_lo_tensor
    kernel = tuple(kernel_size)
    if weights.dim() == 5:  # as PyTorch has them
        dense = weights
    else:
        dense, groups = weights.reshape(-1, weights.shape[-1])[:, :output_channels], 1
        dense = dense.reshape(*kernel, -1, output_channels).permute(4, 3, 0, 1, 2)
    channels = (
        groups * dense.shape[1] if groups > 1 else min(dense.shape[1], input_tensor.shape[-1])
    )  # what lies beyond is padding in one of them
    pads = [amount for amount in reversed(tuple(padding)) for _side in range(2)]
    mode = "constant" if padding_mode == "zeros" else padding_mode
    volume = torch.nn.functional.pad(input_tensor[..., :channels].permute(0, 4, 1, 2, 3), pads, mode=mode)
    bias = None if bias_tensor is None else bias_tensor.reshape(-1)[:output_channels]
    result = torch.nn.functional.conv3d(
        volume, dense[:, : channels // groups], bias, tuple(stride), dilation=tuple(dilation), groups=groups
    ).permute(0, 2, 3, 4, 1)
    shape = tuple(call.output.shape)
    return result.reshape(shape) if result.numel() == call.output.logical_volume() else result
