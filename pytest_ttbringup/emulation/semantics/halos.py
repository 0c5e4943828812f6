"""Collectives on tensors that several chips share in strips: borders of the neighbours, and another division.

As TT-NN's tests `test_neighbor_pad_async.py` and `test_slice_reshard_async.py` have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.collectives import Group, by_place, collective
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import torch

    Parts = list[torch.Tensor]


@by_place
@collective("ttnn.experimental.neighbor_pad_async")
def neighbor_pad(
    group: Group,
    *,
    input_tensor: Parts,
    dim: Sequence[int],
    padding_left: Sequence[int],
    padding_right: Sequence[int],
    padding_mode: str,
    cluster_axis: Sequence[int],
    logical_h: int = 0,
    t_front_pad: int = 0,
    **_: Any,
) -> Parts:
    """Each chip's part with the last rows of the chip before it, and the first of the one after, along each `dim` in
    turn; at the ends zeros, or the outermost row repeated (`replicate`).

    Raises:
        EmulationError: `logical_h` or `t_front_pad` is given.
    """
    if logical_h or t_front_pad:
        raise EmulationError(f"{group.name}: logical_h and t_front_pad are not emulated")
    parts = dict(zip(group.chips, input_tensor, strict=True))
    for along, left, right, axis in zip(dim, padding_left, padding_right, cluster_axis, strict=True):
        before = dict(parts)
        for chip, part in before.items():
            previous, following = (before.get(_moved(chip, axis, step)) for step in (-1, 1))
            parts[chip] = _bordered(part, along, previous, left, following, right, padding_mode)
    return [parts[chip] for chip in group.chips]


def _moved(chip: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
    return (*chip[:axis], chip[axis] + step, *chip[axis + 1 :])


def _bordered(
    part: torch.Tensor,
    dim: int,
    previous: torch.Tensor | None,
    left: int,
    following: torch.Tensor | None,
    right: int,
    mode: str,
) -> torch.Tensor:
    import torch

    size = part.shape[dim]
    pieces = [part]
    if left:
        edge = part.narrow(dim, 0, 1).repeat_interleave(left, dim)
        outside = edge if mode == "replicate" else torch.zeros_like(edge)
        pieces.insert(0, outside if previous is None else previous.narrow(dim, size - left, left))
    if right:
        edge = part.narrow(dim, size - 1, 1).repeat_interleave(right, dim)
        outside = edge if mode == "replicate" else torch.zeros_like(edge)
        pieces.append(outside if following is None else following.narrow(dim, 0, right))
    return torch.cat(pieces, dim=dim)


@collective("ttnn.experimental.slice_reshard_async")
def slice_reshard(
    group: Group, *, input_tensor: Parts, dim: int, output_dim_offset: int, output_dim_shape: int, **_: Any
) -> Parts:
    """The parts joined along `dim`, cut to `output_dim_shape` from `output_dim_offset` on (zeros past the end), and
    divided among the chips again.
    """
    import torch

    joined = torch.cat(input_tensor, dim=dim)
    beyond = max(0, output_dim_offset + output_dim_shape - joined.shape[dim])
    padding = [0, 0] * (joined.dim() - 1 - dim % joined.dim()) + [0, beyond]
    whole = torch.nn.functional.pad(joined, padding).narrow(dim, output_dim_offset, output_dim_shape)
    if output_dim_shape % len(group.chips):
        raise EmulationError(f"{group.name}: {output_dim_shape} rows can't be divided among {len(group.chips)} chips")
    return list(whole.chunk(len(group.chips), dim=dim))
