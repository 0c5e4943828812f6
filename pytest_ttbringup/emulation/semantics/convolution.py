"""Convolutions.

Shape legend: N images, C input channels, O output channels, G groups, kh and kw kernel size. Images are
[1, 1, N H W, C] or [N, H, W, C]; results [1, 1, N H' W', O].

TT-NN lays weights out for the cores that use them ("prepared" weights, [1, 1, rows, columns]) in one of many ways. Here
all of them are kernel position by input channel times output channel, in the upper left corner; so a prepared tensor
serves any convolution, and looks on the host unlike the device's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.activations import activated
from pytest_ttbringup.emulation.calls import device_tensors
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call

_Pair = int | Sequence[int]


@semantics("ttnn.conv2d")
def conv2d(
    call: Call,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    device: Any = None,
    in_channels: int = 0,
    out_channels: int = 0,
    batch_size: int = 0,
    input_height: int = 0,
    input_width: int = 0,
    kernel_size: _Pair = 1,
    stride: _Pair = 1,
    padding: _Pair = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    *,
    bias_tensor: torch.Tensor | None = None,
    conv_config: Any = None,
    **_: Any,
) -> list[torch.Tensor]:
    """The convolution, and the prepared weights and bias if TT-NN returns them."""
    import torch

    del device
    kernel = _pair(kernel_size)
    weights = _weights(weight_tensor, (out_channels, in_channels // groups, *kernel), conv_config)
    image = image_of(input_tensor, batch_size, input_height, input_width, in_channels)
    top, bottom, left, right = padding_of(padding)
    result = torch.nn.functional.conv2d(
        _padded(image, (left, right, top, bottom), conv_config),
        weights,
        _bias(bias_tensor, out_channels),
        stride=_pair(stride),
        dilation=_pair(dilation),
        groups=groups,
    )
    return _results(call, result, conv_config, prepared_weights(weights), bias_tensor)


@semantics("ttnn.conv1d")
def conv1d(
    call: Call,
    *,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    in_channels: int,
    out_channels: int,
    batch_size: int,
    input_length: int,
    kernel_size: int,
    stride: int = 1,
    padding: _Pair = 0,
    dilation: int = 1,
    groups: int = 1,
    bias_tensor: torch.Tensor | None = None,
    conv_config: Any = None,
    **_: Any,
) -> list[torch.Tensor]:
    """As `conv2d` along one dimension."""
    import torch

    weights = _weights(weight_tensor, (out_channels, in_channels // groups, kernel_size), conv_config)
    before, after = _pair(padding)
    image = image_of(input_tensor, batch_size, input_length, 1, in_channels).squeeze(-1)
    result = torch.nn.functional.conv1d(
        _padded(image, (before, after), conv_config),
        weights,
        _bias(bias_tensor, out_channels),
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    return _results(call, result.unsqueeze(-1), conv_config, prepared_weights(weights.unsqueeze(-1)), bias_tensor)


@semantics("ttnn.conv_transpose2d")
def conv_transpose2d(
    call: Call,
    *,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    in_channels: int,
    out_channels: int,
    batch_size: int,
    input_height: int,
    input_width: int,
    kernel_size: _Pair,
    stride: _Pair = 1,
    padding: _Pair = 0,
    output_padding: _Pair = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    bias_tensor: torch.Tensor | None = None,
    conv_config: Any = None,
    mirror_kernel: bool = True,
    **_: Any,
) -> list[torch.Tensor]:
    """PyTorch's transposed convolution, weights [C, O / G, kh, kw]; without `mirror_kernel` they come mirrored.

    With the padding mode `replicate` it is a convolution of the image with zeros between its pixels, whose edges are
    continued outwards.
    """
    import torch

    shape = (in_channels, out_channels // groups, *_pair(kernel_size))
    weights = _weights(weight_tensor, shape, conv_config, transposed=True)
    if not mirror_kernel and weight_tensor.shape == weights.shape:
        weights = weights.flip(-1, -2)
    top, bottom, left, right = padding_of(padding)
    image = image_of(input_tensor, batch_size, input_height, input_width, in_channels)
    if _replicates(conv_config):
        spread = _spread(image, _pair(stride))
        edges = [step * (size - 1) for step, size in zip(_pair(dilation), weights.shape[2:], strict=True)]
        more = _pair(output_padding)
        halo = (edges[1] - left, edges[1] - right + more[1], edges[0] - top, edges[0] - bottom + more[0])
        mirrored = weights.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(-1, -2)
        result = torch.nn.functional.conv2d(
            _padded(spread, halo, conv_config),
            mirrored,
            _bias(bias_tensor, out_channels),
            dilation=_pair(dilation),
            groups=groups,
        )
        return _results(call, result, conv_config, prepared_transposed_weights(weights), bias_tensor)
    result = torch.nn.functional.conv_transpose2d(
        image,
        weights,
        _bias(bias_tensor, out_channels),
        stride=_pair(stride),
        output_padding=_pair(output_padding),
        dilation=_pair(dilation),
        groups=groups,
    )
    height, width = result.shape[-2:]
    cut = result[..., top : height - bottom, left : width - right]
    return _results(call, cut, conv_config, prepared_transposed_weights(weights), bias_tensor)


def _replicates(config: Any) -> bool:
    return "replicate" in str(getattr(config, "padding_mode", "")).lower()


def _padded(image: torch.Tensor, pads: tuple[int, ...], config: Any) -> torch.Tensor:
    """Zeros around an image, or its edges continued outwards."""
    import torch

    return torch.nn.functional.pad(image, pads, mode="replicate" if _replicates(config) else "constant")


def _spread(image: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """[N, C, H, W] with stride - 1 zeros between neighbours."""
    rows, columns = ((size - 1) * step + 1 for size, step in zip(image.shape[2:], stride, strict=True))
    spread = image.new_zeros(*image.shape[:2], rows, columns)
    spread[..., :: stride[0], :: stride[1]] = image
    return spread


def prepared_weights(weights: torch.Tensor) -> torch.Tensor:
    """[A, B, kh, kw] -> [kh kw B, A], with kw 1 for a kernel of one dimension."""
    return weights.permute(2, 3, 1, 0).flatten(0, 2)


def prepared_transposed_weights(weights: torch.Tensor) -> torch.Tensor:
    """[C, O / G, kh, kw] -> [kh kw C, O / G]."""
    return prepared_weights(weights.transpose(0, 1))


def in_corner(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A tensor of zeros of `shape` with `values` [rows, columns] in its upper left corner."""
    import torch

    made = torch.zeros(tuple(shape))
    made.reshape(-1, made.shape[-1])[: values.shape[0], : values.shape[1]] = values
    return made


def _weights(weights: torch.Tensor, shape: tuple[int, ...], config: Any, *, transposed: bool = False) -> torch.Tensor:
    """Weights of this shape, from the same or from prepared ones, in the dtype the convolution uses."""
    columns, rows = (shape[1], shape[0]) if transposed else (shape[0], shape[1])
    channels = rows
    for size in shape[2:]:
        rows *= size
    if weights.numel() == rows * columns and tuple(weights.shape[:2]) == shape[:2]:
        dtype = getattr(config, "weights_dtype", None)
        if dtype is None:
            return weights.reshape(shape)
        # Values that share an exponent in a block format lie side by side once they are prepared.
        square = weights.reshape(*shape[:2], *(*shape[2:], 1)[:2])
        weights = round_to(prepared_transposed_weights(square) if transposed else prepared_weights(square), dtype)
    corner = weights.reshape(-1, weights.shape[-1])[:rows, :columns]
    kernel = (*shape[2:], 1)[:2]
    ordered = corner.reshape(*kernel, channels, columns).permute(3, 2, 0, 1)
    return (ordered.transpose(0, 1) if transposed else ordered).reshape(shape)


def _bias(bias: torch.Tensor | None, channels: int) -> torch.Tensor | None:
    return None if bias is None else bias.reshape(-1)[:channels]


def image_of(values: torch.Tensor, batch: int, height: int, width: int, channels: int) -> torch.Tensor:
    """[1, 1, N H W or more, C or more] -> [N, C, H, W]."""
    rows = values.reshape(-1, values.shape[-1])[: batch * height * width, :channels]
    return rows.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def rows_of(image: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [1, 1, N H W, C]."""
    return image.permute(0, 2, 3, 1).flatten(0, 2)[None, None]


def _results(
    call: Call, image: torch.Tensor, config: Any, weights: torch.Tensor, bias: torch.Tensor | None
) -> list[torch.Tensor]:
    """What TT-NN returns: the result [N, O, H', W'] as [1, 1, N H' W', O], then prepared weights and bias."""
    image = activated(image, getattr(config, "activation", None))
    results = [rows_of(image)]
    returned = device_tensors(call.output)[1:]
    if returned:
        results.append(in_corner(weights, returned[0].shape))
    if len(returned) > 1 and bias is not None:
        results.append(in_corner(bias.reshape(1, -1), returned[1].shape))
    return results


def _pair(value: _Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def padding_of(padding: _Pair) -> tuple[int, int, int, int]:
    """Top, bottom, left, right; TT-NN takes one number, two or these four."""
    if not isinstance(padding, int) and len(padding) == 4:
        top, bottom, left, right = padding
        return top, bottom, left, right
    vertical, horizontal = _pair(padding)
    return vertical, vertical, horizontal, horizontal
