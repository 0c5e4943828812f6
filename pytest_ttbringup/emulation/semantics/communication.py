"""Collectives: what chips of a mesh hold after they have exchanged their parts.

Sums over chips are taken in float32 and rounded once, to the output's dtype. The device rounds at every hop (TT-NN:
"The reduction is performed in BFLOAT16"), so with more than two chips its sums are less exact than these.

Shape legend: N chips of the group; the parts of a tensor are lists of N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.collectives import Group, by_place, collective
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import torch

    Parts = list[torch.Tensor]


@collective(
    "ttnn.all_gather",
    "ttnn.experimental.all_gather_async",
    "ttnn.experimental.strided_all_gather_async",
)
def all_gather(_: Group, *, input_tensor: Parts, dim: int, **__: Any) -> Parts:
    """Every chip gets all parts, concatenated along `dim`."""
    import torch

    return [torch.cat(input_tensor, dim=dim)] * len(input_tensor)


@collective("ttnn.experimental.all_gather_async_reversed")
def all_gather_reversed(_: Group, *, input_tensor: Parts, dim: int, **__: Any) -> Parts:
    """As `all_gather`, with the last chip's part first."""
    import torch

    return [torch.cat(input_tensor[::-1], dim=dim)] * len(input_tensor)


@collective("ttnn.experimental.high_bw_all_gather")
def high_bw_all_gather(
    group: Group,
    *,
    input_tensor: Parts,
    dim: int,
    input_batch_index: int | None = None,
    gathered_dim_size: int | None = None,
    **options: Any,
) -> Parts:
    """As `all_gather`, into a given tensor; with `input_batch_index`, of that one of the input's batches.

    Raises:
        EmulationError: an option gathers a part of the rows only, or takes the batch from a tensor.
    """
    whole = input_tensor[0].shape[dim] * len(input_tensor)
    if gathered_dim_size not in (None, whole):
        raise EmulationError(f"{group.name}: gathered_dim_size={gathered_dim_size} of {whole} is not emulated")
    for name in ("input_batch_index_tensor", "gathered_prefix_tensor"):
        if options.get(name) is not None:
            raise EmulationError(f"{group.name}: {name} is not emulated")
    if input_batch_index is not None:
        input_tensor = [part[input_batch_index : input_batch_index + 1] for part in input_tensor]
    return all_gather(group, input_tensor=input_tensor, dim=dim)


@collective("ttnn.experimental.ring_attention_all_gather_async")
def ring_attention_all_gather(
    _: Group, *, input_tensor: list[Parts], persistent_output_buffer: list[Parts], dim: int, **__: Any
) -> list[tuple[Any, ...]]:
    """`all_gather` of several tensors, but for a chip's own part: its place in the output keeps what it held, since
    attention takes that part from the input (TT-NN's `test_ring_attention_all_gather.py`: "AG does not write local
    slice to output").
    """
    import torch

    def others(parts: Parts, kept: torch.Tensor, own: int) -> torch.Tensor:
        return torch.cat([*parts[:own], kept.chunk(len(parts), dim=dim)[own], *parts[own + 1 :]], dim=dim)

    gathered = [
        [others(parts, kept, own) for own, kept in enumerate(buffers)]
        for parts, buffers in zip(input_tensor, persistent_output_buffer, strict=True)
    ]
    return list(zip(*gathered, strict=True))


@collective("ttnn.all_reduce")
def all_reduce(_: Group, *, input_tensor: Parts, **__: Any) -> Parts:
    """Every chip gets the sum of all parts."""
    return [_sum(input_tensor)] * len(input_tensor)


@collective("ttnn.experimental.all_reduce_async")
def all_reduce_async(group: Group, *, input_tensor: Parts, math_op: Any = None, **_: Any) -> Parts:
    """Every chip gets the sum of all parts.

    Raises:
        EmulationError: another operation than a sum is asked for.
    """
    import ttnn

    if math_op not in (None, ttnn.ReduceType.Sum):
        raise EmulationError(f"{group.name}: math_op={math_op} is not emulated; TT-NN reduces by sums")
    return all_reduce(group, input_tensor=input_tensor)


@collective(
    "ttnn.reduce_scatter",
    "ttnn.experimental.reduce_scatter_minimal_async",
    "ttnn.experimental.reduce_scatter_minimal_direct",
    "ttnn.experimental.strided_reduce_scatter_async",
    "ttnn.experimental.llama_reduce_scatter",
)
def reduce_scatter(group: Group, *, input_tensor: Parts, dim: int, **_: Any) -> Parts:
    """The sum of all parts, cut along `dim` into N pieces; chip i gets the i-th."""
    return _pieces(group, _sum(input_tensor), dim)


@collective("ttnn.mesh_partition")
def mesh_partition(group: Group, *, input_tensor: Parts, dim: int, **_: Any) -> Parts:
    """Chip i keeps the i-th of N pieces of its own part along `dim`."""
    return [_pieces(group, part, dim)[index] for index, part in enumerate(input_tensor)]


@collective("ttnn.all_broadcast")
def all_broadcast(_: Group, *, input_tensor: Parts, **__: Any) -> list[tuple[Any, ...]]:
    """N outputs: the i-th holds chip i's part, on every chip."""
    return [tuple(input_tensor)] * len(input_tensor)


@by_place
@collective("ttnn.broadcast")
def broadcast(group: Group, *, input_tensor: Parts, sender_coord: Any, **_: Any) -> list[Any]:
    """Every chip of the sender's group gets the sender's part; the output of other groups is not written."""
    sender = tuple(sender_coord)
    if sender not in group.chips:
        return [None] * len(group.chips)
    return [input_tensor[group.chips.index(sender)]] * len(group.chips)


@by_place
@collective("ttnn.point_to_point")
def point_to_point(group: Group, *, input_tensor: Parts, sender_coord: Any, receiver_coord: Any, **_: Any) -> list[Any]:
    """The receiver gets the sender's part; the output of all others is not written."""
    results: list[Any] = [None] * len(group.chips)
    results[group.chips.index(tuple(receiver_coord))] = input_tensor[group.chips.index(tuple(sender_coord))]
    return results


@collective("ttnn.experimental.all_to_all_async", "ttnn.experimental.all_to_all_async_generic")
def all_to_all(group: Group, *, input_tensor: Parts, in_dim: int, out_dim: int, **_: Any) -> Parts:
    """A tensor sharded along `in_dim` becomes one sharded along `out_dim`: chip i gets the i-th of N pieces along
    `out_dim` of every part, concatenated along `in_dim`.
    """
    import torch

    pieces = [_pieces(group, part, out_dim) for part in input_tensor]
    return [torch.cat([piece[index] for piece in pieces], dim=in_dim) for index in range(len(input_tensor))]


def _sum(parts: Parts) -> torch.Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _pieces(group: Group, tensor: torch.Tensor, dim: int) -> Parts:
    count = len(group.chips)
    if tensor.shape[dim] % count:
        raise EmulationError(
            f"{group.name}: dimension {dim} of {list(tensor.shape)} can't be cut into {count} equal pieces"
        )
    return list(tensor.chunk(count, dim=dim))
