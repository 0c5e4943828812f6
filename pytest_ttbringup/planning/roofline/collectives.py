"""The collectives that tensor parallelism puts between one chip's operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_ttbringup.planning.roofline.operations import ALL_GATHER, REDUCE_SCATTER, Operand, Operation


def with_collectives(operations: Sequence[Operation], *, chips: int, hidden: int) -> Iterator[Operation]:
    """One chip's share of a model, with what its chips must exchange.

    Each chip has a part of the heads and of the MLP's columns, so that the two products that come back to the residual
    stream (of the attention's output and of the MLP's) are sums over chips, and an all_reduce of [rows, hidden] follows
    each. Each has a part of the vocabulary, too; of that only the best logit of each row and its place need be
    exchanged, which is not counted.

    Args:
        operations: of one chip.
        chips: of the copy; with 1 nothing is added.
        hidden: columns of the residual stream.
    """
    for operation in operations:
        yield operation
        if chips > 1 and operation.is_matmul and operation.outputs[0].shape[-1] == hidden:
            yield from all_reduce(operation.outputs[0], chips)


def all_reduce(tensor: Operand, chips: int) -> Iterator[Operation]:
    """What `ttnn.all_reduce` issues for a tensor that each of `chips` has a summand of: reduce_scatter, all_gather."""
    *outer, columns = tensor.shape
    part = replace(tensor, shape=(*outer, columns // chips))
    yield Operation(REDUCE_SCATTER, (tensor,), (part,))
    yield Operation(ALL_GATHER, (part,), (tensor,))
