"""Tensors that TT-NN reads on the host to plan an operation, where the mock cluster has nothing but zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.host import is_on_device

if TYPE_CHECKING:
    import torch
    import ttnn

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def with_host_values(
    name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], read: Callable[[ttnn.Tensor], torch.Tensor]
) -> _Call:
    """The arguments of a call, with lists of numbers in place of such tensors."""
    if name != "ttnn.slice":
        return arguments, keywords
    import ttnn

    names = ("slice_start", "slice_end", "slice_step")  # where ttnn.slice has them by position: after its input
    given = dict(zip(("input_tensor", *names), arguments, strict=False)) | keywords
    bounds = [it for it in (*arguments[1:3], *keywords.values()) if isinstance(it, ttnn.Tensor) and is_on_device(it)]
    if not bounds or len(arguments) < 3:
        return arguments, keywords
    start, end = (read(it).reshape(-1).tolist() if isinstance(it, ttnn.Tensor) else it for it in arguments[1:3])
    steps = given.get("slice_step")
    rest = {key: it for key, it in keywords.items() if key not in ("slice_dim", "num_devices", "slice_step")}
    return (arguments[0], start, end, *([] if steps is None else [steps])), rest
