"""How long the tensors of a decode step live."""

from __future__ import annotations

from typing import Any

import pytest
import ttnn
from ttnn.decorators import FastOperation

Place = tuple[str, int]
"""A kind of memory and an address."""

_EXCHANGES = frozenset({"ttnn.all_gather", "ttnn.all_reduce", "ttnn.reduce_scatter"})


def watch_exchanges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ttnn.Tensor]]:
    """The tensors that collectives take from now on, each with the operation's name.

    They are held here, so that none is freed because its last name went out of scope.
    """
    taken: list[tuple[str, ttnn.Tensor]] = []
    original = FastOperation.__call__

    def noted(operation: FastOperation, *arguments: Any, **keywords: Any) -> Any:
        name = operation.python_fully_qualified_name
        if name in _EXCHANGES:
            taken.append((name, arguments[0]))
        return original(operation, *arguments, **keywords)

    monkeypatch.setattr(FastOperation, "__call__", noted)
    return taken


def not_freed(taken: list[tuple[str, ttnn.Tensor]]) -> list[str]:
    """Of watched tensors those that have their memory still, as `operation shape`."""
    return [f"{name} {list(tensor.shape)}" for name, tensor in taken if tensor.is_allocated()]


def places(mesh_device: ttnn.MeshDevice) -> set[Place]:
    """All buffers that are allocated on a mesh device."""
    return {(it.buffer_type.name, it.address) for it in ttnn._ttnn.reports.get_buffers([mesh_device])}
