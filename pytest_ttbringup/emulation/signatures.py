"""The parameters of TT-NN's operations, as their bindings state them, beside those of its golden functions.

The two often differ in name (`input_tensor_a` and `input`), which only shows when a caller uses the name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttnn.decorators import FastOperation

Overload = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of the parameters that may be given by position, and of those that may not."""


@cache
def overloads(operation: FastOperation) -> tuple[Overload, ...]:
    """Every signature of an operation that TT-NN binds from C++."""
    # nanobind writes the signatures into the docstring of the callable, not of its instances
    lines = (type(operation.function).__call__.__doc__ or "").splitlines()
    return tuple(found for found in map(_parsed, lines) if found is not None)


def under_golden_names(operation: FastOperation, positional: int, keywords: dict[str, Any]) -> dict[str, Any]:
    """`keywords` with the names that the operation's golden function has for the same parameters.

    Args:
        operation: with a golden function.
        positional: how many arguments were given by position.
        keywords: the others, under TT-NN's names.
    """
    golden, more = _golden_parameters(operation.golden_function)
    unknown = [name for name in keywords if name not in more]
    if not unknown:
        return keywords
    for places, rest in overloads(operation):
        if not all(name in places or name in rest for name in unknown):
            continue
        renamed = {}
        for name in unknown:
            index = places.index(name) if name in places else -1
            if positional <= index < len(golden) and golden[index] not in keywords:
                renamed[name] = golden[index]
        return {renamed.get(name, name): value for name, value in keywords.items()}
    return keywords


@cache
def only_for_output(operation: FastOperation, name: str) -> bool:
    """Whether a parameter is the tensor to write to, of which the golden function needs no values."""
    parameter = inspect.signature(operation.golden_function).parameters.get(name)
    needed = parameter is not None and parameter.default is parameter.empty
    return name in operation.output_tensor_kwarg_names and not needed


@cache
def _golden_parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of the parameters that may be given by position, and of all."""
    parameters = inspect.signature(function).parameters.values()
    named = [it for it in parameters if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]
    return (
        tuple(it.name for it in named if it.kind != it.KEYWORD_ONLY),
        frozenset(it.name for it in named),
    )


def _parsed(line: str) -> Overload | None:
    """`__call__(self, a: Tensor, *, b: int = 0) -> Tensor` -> (("a",), ("b",))."""
    start, end = line.find("__call__(self"), line.rfind(") ->")
    if start < 0 or end < 0:
        return None
    names: tuple[list[str], list[str]] = ([], [])
    keyword_only = False
    depth, begin, text = 0, 0, line[start + len("__call__(self") : end] + ","
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parameter, begin = text[begin:index].strip(), index + 1
            if parameter == "*":
                keyword_only = True
            elif parameter:
                names[keyword_only].append(parameter.partition(":")[0].strip())
    return tuple(names[0]), tuple(names[1])
