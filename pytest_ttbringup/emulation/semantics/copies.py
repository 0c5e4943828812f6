"""Operations that write into a tensor they are given, in whole or in part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.copy", updates="input_b")
def copy(call: Call, input_a: torch.Tensor, input_b: torch.Tensor) -> None:
    """Let `input_b` hold what `input_a` does, in its own dtype."""
    input_b.copy_(round_to(input_a, call.argument(1, "input_b").dtype).reshape(input_b.shape))


@semantics("ttnn.experimental.slice_write", updates="output_tensor")
def slice_write(
    call: Call,
    input_tensor: torch.Tensor,
    output_tensor: torch.Tensor,
    start: Sequence[int],
    end: Sequence[int],
    step: Sequence[int],
) -> None:
    """Write `input_tensor` to output_tensor[start:end:step]; what it has beyond the slice is padding."""
    target = output_tensor[tuple(slice(*bounds) for bounds in zip(start, end, step, strict=True))]
    source = input_tensor
    if source.shape != target.shape and source.shape[-1] >= target.shape[-1]:
        source = source[..., : target.shape[-1]]
    target.copy_(round_to(source, call.argument(1, "output_tensor").dtype).reshape(target.shape))


@semantics("ttnn.sharded_to_interleaved_partial", updates="cache_tensor")
def sharded_to_interleaved_partial(
    call: Call, input_tensor: torch.Tensor, cache_tensor: torch.Tensor, num_slices: int, slice_index: int, **_: Any
) -> None:
    """Write the rows of slice number `slice_index` of `num_slices` into the interleaved tensor."""
    rows = cache_tensor.view(-1, cache_tensor.shape[-1])
    length = rows.shape[0] // num_slices
    values = round_to(input_tensor, call.argument(1, "cache_tensor").dtype)
    rows[slice_index * length : (slice_index + 1) * length] = values.reshape(length, -1)


@semantics("ttnn.experimental.broadcast_to")
def broadcast_to(input: torch.Tensor, output_shape: Sequence[int], **_: Any) -> torch.Tensor:  # noqa: A002
    """Repeat along dimensions of size 1; with `output=` TT-NN returns that tensor."""
    return input.broadcast_to(tuple(output_shape))
