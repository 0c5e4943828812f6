"""One TT-NN call as the value plane sees it: its arguments, with device tensors replaced by what they hold."""

from __future__ import annotations

from collections.abc import Callable
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


def device_tensors(*values: Any) -> list[ttnn.Tensor]:
    """Every device tensor in arguments or results: lists, tuples and dictionaries are looked into."""
    import ttnn

    found: list[ttnn.Tensor] = []
    for value in values:
        if isinstance(value, ttnn.Tensor):
            if value.storage_type() == ttnn.StorageType.DEVICE:
                found.append(value)
        elif isinstance(value, (list, tuple)):
            found += device_tensors(*value)
        elif isinstance(value, dict):
            found += device_tensors(*value.values())
    return found


def substitute(value: Any, values_of: Callable[[ttnn.Tensor], torch.Tensor]) -> Any:
    """`value` with every TT-NN tensor in it replaced by `values_of(tensor)`."""
    import ttnn

    from pytest_ttbringup.emulation.handles import TensorHandle

    if isinstance(value, (ttnn.Tensor, TensorHandle)):
        return values_of(value)
    if isinstance(value, (list, tuple)):
        return type(value)([substitute(item, values_of) for item in value])
    if isinstance(value, dict):
        return {key: substitute(item, values_of) for key, item in value.items()}
    return value
