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
    given = dict(zip(_SLICE, arguments, strict=False)) | keywords
    bounds = [given.get("starts"), given.get("ends")]
    if not all(_is_device_tensor(it) for it in bounds):  # TT-NN takes both as tensors or neither
        return arguments, keywords
    numbers = [read(it).reshape(-1).tolist() for it in bounds]
    steps = [given["slice_step"]] if given.get("slice_step") is not None else []
    rest = {key: it for key, it in keywords.items() if key not in (*_SLICE, "slice_dim", "num_devices")}
    return (given["input_tensor"], *numbers, *steps), rest


_SLICE = ("input_tensor", "starts", "ends", "slice_step")
"""Names of `ttnn.slice`'s arguments by position, where it takes bounds as tensors."""


def _is_device_tensor(value: Any) -> bool:
    import ttnn

    return isinstance(value, ttnn.Tensor) and is_on_device(value)
