"""Semantics from TT-NN's own golden functions.

TT-NN attaches to most operations the PyTorch function its tests compare against. It takes the operation's arguments
with torch tensors in place of TT-NN's, which is the contract of `semantics`, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.handles import on_host
from pytest_ttbringup.emulation.semantics import Semantics

if TYPE_CHECKING:
    import torch
    from ttnn.decorators import FastOperation


def golden_semantics(operation: FastOperation) -> Semantics | None:
    """The operation's golden function as semantics, or None if TT-NN has none for it."""
    if operation.golden_function is None:
        return None

    def compute(call: Call, *arguments: Any, **keywords: Any) -> Any:
        return golden_values(operation, call, *arguments, **keywords)

    return Semantics(compute, updates=None, takes_call=True)


def golden_values(operation: FastOperation, call: Call, *arguments: Any, **keywords: Any) -> Any:
    """What the golden function of `operation` gives for these arguments of one chip.

    Raises:
        EmulationError: the golden function wrote into an input, whose buffer TT-NN did not name as an output.
    """
    from ttnn import decorators

    preprocess = operation.preprocess_golden_function_inputs
    if preprocess not in (None, decorators.default_preprocess_golden_function_inputs):
        # It looks at TT-NN's tensors (their dtype, shards or mesh) and reads the values through the host.
        arguments, keywords = preprocess(on_host(call.arguments), dict(on_host(call.keywords)))
        return operation.golden_function(*arguments, **keywords)
    inputs = [*_tensors(arguments), *_tensors(keywords)]
    versions = [tensor._version for tensor in inputs]
    result = operation.golden_function(*arguments, **keywords)
    if [tensor._version for tensor in inputs] != versions:
        raise EmulationError(
            f"{call.name}: TT-NN's golden function changes its input in place, which other buffers may share. "
            f'Give it semantics of its own with @semantics("{call.name}", updates=...).'
        )
    return result


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
