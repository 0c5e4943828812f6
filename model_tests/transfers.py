"""Which tensors a decode step moves between host and device."""

from __future__ import annotations

from typing import Any

import pytest
import ttnn


def watch_transfers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """Which transfers between host and device happen from now on, with the shapes of their tensors."""
    moved: list[tuple[str, list[int]]] = []
    inside = [False]

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def noted(first: Any, *arguments: Any, **keywords: Any) -> Any:
            on_device = isinstance(first, ttnn.Tensor) and ttnn.is_tensor_storage_on_device(first)
            reads = name in ("to_torch", "from_device", "cpu", "to_list", "item")
            writes = name in ("to_device", "copy_host_to_device_tensor") or keywords.get("device") is not None
            if not inside[0] and ((reads and on_device) or (not reads and not on_device and writes)):
                moved.append(("from_device" if reads else "to_device", list(first.shape)))
            outermost, inside[0] = not inside[0], True
            try:
                return original(first, *arguments, **keywords)
            finally:
                inside[0] = not outermost

        monkeypatch.setattr(owner, name, noted)

    for name in ("from_torch", "to_torch", "to_device", "from_device", "copy_host_to_device_tensor"):
        watch(ttnn, name)
    for name in ("cpu", "to_torch", "to_list", "item"):
        watch(ttnn.Tensor, name)
    return moved
