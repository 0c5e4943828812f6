"""Pooling of images [1, 1, N H W, C] or [N, H, W, C] to [1, 1, N H' W', C] or [N, H', W', C], and sampling.

TT-NN's golden functions for these import helpers from TT-Metal's test suite, which its wheel does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.convolution import image_of, padding_of, rows_of

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.max_pool2d")
def max_pool2d(
    call: Call,
    input_tensor: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
    *,
    return_indices: bool = False,
    **_: Any,
) -> torch.Tensor | list[torch.Tensor]:
    """The greatest value of each window; with `return_indices` also where it lies in its image, counted by rows."""
    import torch

    top, bottom, left, right = padding_of(padding)
    extra = _ceiling(input_h + top + bottom, kernel_size[0], stride[0], dilation[0], input_h + top, ceil_mode)
    more = _ceiling(input_w + left + right, kernel_size[1], stride[1], dilation[1], input_w + left, ceil_mode)
    padded = torch.nn.functional.pad(
        image_of(input_tensor, batch_size, input_h, input_w, channels),
        (left, right + more, top, bottom + extra),
        value=float("-inf"),
    )
    pooled, where = torch.nn.functional.max_pool2d(
        padded, tuple(kernel_size), tuple(stride), dilation=tuple(dilation), return_indices=True
    )
    if not return_indices:
        return _rows_as(pooled, call.output)
    width = padded.shape[-1]
    places = (where // width - top) * input_w + where % width - left
    outputs = zip((pooled, places), call.output, strict=True)
    return [_rows_as(values, output) for values, output in outputs]


@semantics("ttnn.avg_pool2d")
def avg_pool2d(
    call: Call,
    input_tensor: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    **_: Any,
) -> torch.Tensor:
    """The mean of each window. Padding counts if `count_include_pad`; what `ceil_mode` adds beyond it never does."""
    import torch

    top, bottom, left, right = padding_of(padding)
    extra = _ceiling(input_h + top + bottom, kernel_size[0], stride[0], 1, input_h + top, ceil_mode)
    more = _ceiling(input_w + left + right, kernel_size[1], stride[1], 1, input_w + left, ceil_mode)
    image = image_of(input_tensor, batch_size, input_h, input_w, channels)
    counted = torch.nn.functional.pad(
        torch.ones_like(image[:1, :1]), (left, right, top, bottom), value=float(count_include_pad)
    )

    def summed(values: torch.Tensor, pads: tuple[int, int, int, int]) -> torch.Tensor:
        padded = torch.nn.functional.pad(values, pads)
        return torch.nn.functional.avg_pool2d(padded, tuple(kernel_size), tuple(stride), divisor_override=1)

    total = summed(image, (left, right + more, top, bottom + extra))
    means = total / (divisor_override or summed(counted, (0, more, 0, extra)))
    return _rows_as(means, call.output)


@semantics("ttnn.adaptive_avg_pool2d", "ttnn.adaptive_max_pool2d")
def adaptive_pool2d(
    call: Call,
    input_tensor: torch.Tensor,
    batch_size: int,
    input_h: int,
    input_w: int,
    channels: int,
    output_size: Sequence[int],
    **_: Any,
) -> torch.Tensor:
    """Windows chosen so that the result has `output_size`."""
    import torch

    pool = getattr(torch.nn.functional, call.name.removeprefix("ttnn."))
    pooled = pool(image_of(input_tensor, batch_size, input_h, input_w, channels), tuple(output_size))
    return _rows_as(pooled, call.output)


@semantics("ttnn.grid_sample")
def grid_sample(
    call: Call,
    input_tensor: torch.Tensor,
    grid: torch.Tensor,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    use_precomputed_grid: bool = False,
    batch_output_channels: bool = False,
    **_: Any,
) -> torch.Tensor:
    """[N, H, W, C] sampled at grid [N, H', W', 2] -> [N, H', W', C].

    Raises:
        EmulationError: the grid was computed beforehand, or holds several points per place.
    """
    import torch

    if use_precomputed_grid or batch_output_channels or grid.shape[-1] != 2:
        raise EmulationError(f"{call.name}: a precomputed grid, or one of several points, is not emulated")
    sampled = torch.nn.functional.grid_sample(
        input_tensor.permute(0, 3, 1, 2), grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners
    )
    return sampled.permute(0, 2, 3, 1)


def _ceiling(size: int, kernel: int, stride: int, dilation: int, inside: int, ceil_mode: bool) -> int:
    """How much to add behind so that PyTorch's `ceil_mode` has its last window, which must start `inside`."""
    if not ceil_mode:
        return 0
    window = dilation * (kernel - 1) + 1
    last = -(-(size - window) // stride) * stride
    if last >= inside:
        last -= stride
    return max(0, last + window - size)


def _rows_as(image: torch.Tensor, output: Any) -> torch.Tensor:
    """`rows_of`, as [N, H', W', C] where TT-NN's output has that shape."""
    rows = rows_of(image)
    return rows.reshape(tuple(output.shape)) if rows.numel() == output.logical_volume() else rows
