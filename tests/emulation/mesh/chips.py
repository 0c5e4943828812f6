"""Tensors spread over the chips of a mesh, and what each chip holds of one."""

from __future__ import annotations

from typing import Any

import torch
import ttnn


def random(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def place(values: torch.Tensor, mesh: ttnn.MeshDevice, dims: tuple[int | None, int | None], **options: Any) -> Any:
    """Sharded along `dims` over the rows and columns of the mesh; None for replicas."""
    mapper = ttnn.ShardTensor2dMesh(mesh, dims=dims, mesh_shape=tuple(mesh.shape))
    return ttnn.from_torch(values, **{"layout": ttnn.TILE_LAYOUT} | options, device=mesh, mesh_mapper=mapper)


def on_columns(values: torch.Tensor, mesh: ttnn.MeshDevice, dim: int | None, **options: Any) -> Any:
    """In bfloat16, sharded along `dim` over the columns of the mesh, or replicated."""
    return place(values, mesh, (None, dim), **{"dtype": ttnn.bfloat16} | options)


def parts(tensor: ttnn.Tensor) -> list[torch.Tensor]:
    return [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]


def fp32_parts(tensor: ttnn.Tensor) -> list[torch.Tensor]:
    return [part.float() for part in parts(tensor)]


def semaphores(mesh: ttnn.MeshDevice, count: int) -> list[Any]:
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(7, 7))})
    return [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(count)]
