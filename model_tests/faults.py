"""What a negative control changes on the way, on meshes of any shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import ttnn
from ttnn_models.collectives import Collectives


def among_chips(tensor: ttnn.Tensor, change: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]) -> ttnn.Tensor:
    """A device tensor whose parts, one of each chip, row by row of the mesh, are changed; integers come as int64."""
    parts = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]
    floating = parts[0].is_floating_point()
    changed = torch.cat(list(change(parts if floating else [part.long() for part in parts])))
    return ttnn.from_torch(
        changed if floating else changed.int(),
        dtype=tensor.dtype,
        layout=tensor.layout,
        device=tensor.device(),
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
        mesh_mapper=ttnn.ShardTensorToMesh(tensor.device(), dim=0),
    )


def by_chip(tensor: ttnn.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> ttnn.Tensor:
    """A device tensor of which each chip's part is changed alike; see `among_chips`."""
    return among_chips(tensor, lambda parts: [change(part) for part in parts])


def stale_on_the_last_chip(tensor: ttnn.Tensor) -> ttnn.Tensor:
    """A device tensor whose rows [1, 1, R, D] are one further down on the last chip, the last of them first."""
    return among_chips(tensor, lambda parts: [*parts[:-1], parts[-1].roll(1, dims=-2)])


def stale_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last chip did not get the new sum: each of its rows is the one before."""
    all_reduce = Collectives.all_reduce
    monkeypatch.setattr(Collectives, "all_reduce", lambda *arguments: stale_on_the_last_chip(all_reduce(*arguments)))
