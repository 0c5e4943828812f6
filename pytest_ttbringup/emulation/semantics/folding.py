"""`ttnn.fold`: blocks of pixels become channels, which turns a strided convolution into one without stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.fold")
def fold(
    call: Call,
    input: torch.Tensor,  # noqa: A002
    stride_h: int,
    stride_w: int,
    use_transpose_as_fold: bool = False,
    output_shape: Any = None,
    padding: Sequence[int] = (0, 0),
    **_: Any,
) -> torch.Tensor:
    """[N, H, W, C] -> [N, H / sh, W / sw, sh sw C], rows of a block before its columns before the channels.

    With `use_transpose_as_fold` the input is [N, C, H, W]. Padding is vertical and horizontal; or top, bottom, left,
    right and, if given, channels in front and behind. An interleaved tensor that is folded by transposes is padded
    behind only (`fold.cpp` of TT-NN), and the result is cut to the shape of TT-NN's output.
    """
    import torch

    del output_shape
    top, bottom, left, right, front, behind = _six(padding)
    image = input.permute(0, 2, 3, 1) if use_transpose_as_fold else input
    if use_transpose_as_fold and not call.argument(0, "input").memory_config().is_sharded():
        top, bottom, left, right = 0, top, 0, left
    if use_transpose_as_fold:  # it pads to whole tiles, of which the output may show some
        bottom, right = (bottom + -(image.shape[1] + top + bottom) % 32, right + -(image.shape[2] + left + right) % 32)
    padded = torch.nn.functional.pad(image, (front, behind, left, right, top, bottom))
    batch, height, width, channels = padded.shape
    blocks = padded.reshape(batch, height // stride_h, stride_h, width // stride_w, stride_w, channels)
    folded = blocks.transpose(2, 3).flatten(3)
    shape = tuple(call.output.shape)
    if not use_transpose_as_fold:
        return folded.reshape(shape)
    return folded[tuple(slice(0, size) for size in shape)]


def _six(padding: Sequence[int]) -> tuple[int, ...]:
    if len(padding) == 2:
        vertical, horizontal = padding
        return vertical, vertical, horizontal, horizontal, 0, 0
    return (*padding, 0, 0)[:6]
