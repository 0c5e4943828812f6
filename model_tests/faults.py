"""Tensors that a negative control changes on the way, on meshes of any shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
import ttnn


def by_chip(tensor: ttnn.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> ttnn.Tensor:
    """A device tensor of which each chip's part is changed; `change` is given integers as int64."""
    parts = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]
    floating = parts[0].is_floating_point()
    changed = [change(part) if floating else change(part.long()).int() for part in parts]
    return ttnn.from_torch(
        torch.cat(changed),
        dtype=tensor.dtype,
        layout=tensor.layout,
        device=tensor.device(),
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
        mesh_mapper=ttnn.ShardTensorToMesh(tensor.device(), dim=0),
    )
