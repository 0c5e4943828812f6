"""What TT-NN operations compute, where TT-NN ships no golden function, or one that lacks what models use.

A semantics function takes the operation's arguments under TT-NN's own names, with torch tensors (float32, or integers)
in place of TT-NN's, of the tensors' logical shapes and of one chip; and returns the result unrounded, in the shape
TT-NN gives the output. The caller rounds it to the output's dtype. A first parameter named `call` gets the `Call`. To
add one:

    @semantics("ttnn.experimental.nlp_concat_heads")
    def nlp_concat_heads(input_tensor, **_):
        ...

Operations without an entry here fall back to TT-NN's golden function; those with neither fail by name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ttnn.decorators import FastOperation

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Semantics:
    """How to compute an operation's values."""

    function: Callable[..., Any]
    updates: tuple[tuple[int, str], ...]
    """Position and name of the parameters whose buffers the function writes in place, already rounded; its other inputs
    are read only."""
    takes_call: bool
    refuses: tuple[str, ...] = ()
    """Parameters that would change the values, and that the function does not know."""
    by_chip: bool = False
    """Whether it is computed on every chip anew, as what a chip keeps between calls asks for; else once for chips that
    hold the same."""
    collective: FastOperation | None = None
    """The operation itself, if what a chip holds then depends on others: see `emulation.collectives`."""


_REGISTERED: dict[str, Semantics] = {}


def semantics(
    *names: str, updates: str | tuple[str, ...] = (), refuses: tuple[str, ...] = (), by_chip: bool = False
) -> Callable[[_Function], _Function]:
    """Register a function as the semantics of the operations of these full names.

    Args:
        names: such as `ttnn.experimental.rotary_embedding_llama`.
        updates: for an operation that writes part of an existing buffer (a KV cache): the name of that parameter, or
            the names of several, which may be lists of tensors, or left out by the caller. The function changes their
            values in place, and returns None unless TT-NN returns other tensors, too.
        refuses: parameters that the function leaves out though they would change the values: using one is an error.
        by_chip: see `Semantics`.
    """

    def register(function: _Function) -> _Function:
        parameters = list(inspect.signature(function).parameters)
        takes_call = parameters[:1] == ["call"]
        positions = tuple(
            (parameters.index(name) - takes_call, name)
            for name in ((updates,) if isinstance(updates, str) else updates)
        )
        for name in names:
            if name in _REGISTERED:
                raise ValueError(f"{name} has semantics already: {_REGISTERED[name].function.__qualname__}")
            _REGISTERED[name] = Semantics(function, positions, takes_call, refuses, by_chip)
        return function

    return register


@cache
def own_semantics() -> dict[str, Semantics]:
    """Every registered operation by name; loads the modules of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _REGISTERED
