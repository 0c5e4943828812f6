"""One TT-NN call as the value plane sees it: its arguments, with device tensors replaced by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.values import Chip


class Call(NamedTuple):
    """What a semantics function may want to know beyond the values of its arguments."""

    name: str
    """The operation's full name, such as `ttnn.linear`."""
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    """The arguments as the caller gave them, with TT-NN tensors."""
    output: Any
    """What TT-NN returned: tensors whose shape and dtype are those of the result."""
    chip: Chip
    """The chip whose values are being computed."""

    def argument(self, position: int, keyword: str) -> Any:
        """The argument at `position`, or by `keyword`, or None: for looking at a tensor's dtype or layout."""
        return self.arguments[position] if position < len(self.arguments) else self.keywords.get(keyword)


def updated_by(call: Call, updates: Iterable[tuple[int, str]]) -> list[Any]:
    """The tensors that a call updates in place: the arguments of these positions and names that were given, lists of
    them in turn.
    """
    found: list[Any] = []
    for parameter in updates:
        argument = call.argument(*parameter)
        found += argument if isinstance(argument, (list, tuple)) else [argument]
    return [tensor for tensor in found if tensor is not None]


def device_tensors(*values: Any) -> list[ttnn.Tensor]:
    """Every device tensor in arguments or results: lists, tuples and dictionaries are looked into."""
    found: list[ttnn.Tensor] = []
    _collect(values, found, _types())
    return found


def host_tensors(*values: Any) -> list[ttnn.Tensor]:
    """Every host tensor in arguments, in the same way."""
    found: list[ttnn.Tensor] = []
    _collect(values, found, _types(), on_device=False)
    return found


def _collect(values: Iterable[Any], found: list[ttnn.Tensor], types: _Types, *, on_device: bool = True) -> None:
    for value in values:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if isinstance(value, types.tensor):
            if (value.storage_type() == types.on_device) is on_device:
                found.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, found, types, on_device=on_device)
        elif isinstance(value, dict):
            _collect(value.values(), found, types, on_device=on_device)
        elif is_complex(value):
            _collect((value.real, value.imag), found, types, on_device=on_device)


_PLAIN = frozenset((NoneType, bool, int, float, str))
"""Types of most arguments, which are no tensors: looking for them costs less than asking what else they may be."""


class _Types(NamedTuple):
    """What is looked for in every operation's arguments, found once: an import costs as much as a call of TT-NN."""

    tensor: type[Any]
    on_device: ttnn.StorageType
    tensors: tuple[type, ...]


@cache
def _types() -> _Types:
    import ttnn

    from pytest_ttbringup.emulation.handles import TensorHandle

    genuine = ttnn._ttnn.tensor.Tensor  # the stand-in under the name ttnn.Tensor takes longer to say what is a tensor
    return _Types(genuine, ttnn.StorageType.DEVICE, (genuine, TensorHandle))


def is_complex(value: Any) -> bool:
    """Whether this is one of TT-NN's complex tensors: a real and an imaginary tensor."""
    return type(value).__name__ == "ComplexTensor"


def flat(value: Any) -> Iterator[torch.Tensor]:
    """The torch tensors in a value, lists, tuples and dictionaries looked into, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from flat(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from flat(item)


def substitute(value: Any, values_of: Callable[[ttnn.Tensor], torch.Tensor]) -> Any:
    """`value` with every TT-NN tensor in it replaced by `values_of(tensor)`, a complex one by a complex tensor."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, _types().tensors):
        return values_of(value)
    if isinstance(value, (list, tuple)):
        return type(value)([substitute(item, values_of) for item in value])
    if isinstance(value, dict):
        return {key: substitute(item, values_of) for key, item in value.items()}
    if is_complex(value):
        import torch

        return torch.complex(substitute(value.real, values_of), substitute(value.imag, values_of))
    return value
