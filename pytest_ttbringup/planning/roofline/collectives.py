"""The collectives that tensor parallelism puts between one chip's operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ttbringup.planning.roofline.operations import Operand, Operation

ALL_REDUCE = "AllReduce"
ALL_GATHER = "AllGather"


def with_collectives(operations: Sequence[Operation], *, chips: int, hidden: int) -> Iterator[Operation]:
    """One chip's share of a model, with what its chips must exchange.

    Each chip has a part of the heads and of the MLP's columns, so that the two products that come back to the residual
    stream (of the attention's output and of the MLP's) are sums over chips: an all_reduce of [rows, hidden] follows
    each. Each has a part of the vocabulary: an all_gather joins what the argmax of each found, of which only a pair of
    numbers a row need be sent, so it is not counted.

    Args:
        operations: of one chip.
        chips: of the copy; with 1 nothing is added.
        hidden: columns of the residual stream.
    """
    for operation in operations:
        yield operation
        if chips > 1 and operation.is_matmul and operation.outputs[0].shape[-1] == hidden:
            (out,) = operation.outputs
            yield all_reduce(out, chips)


def all_reduce(tensor: Operand, chips: int) -> Operation:
    """An all_reduce of a tensor that each of `chips` has a summand of."""
    return Operation(ALL_REDUCE, (tensor,), (tensor,), chips=chips)
