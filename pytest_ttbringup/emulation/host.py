"""Between host and device: moving values in and out.

A host tensor of TT-NN is genuine and holds its values itself, packed by TT-NN; so writing to the device takes the
values TT-NN's packer left in the host tensor, and reading makes a host tensor from values that are already rounded,
which packing does not change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.values import DeviceMemory, chips_of

if TYPE_CHECKING:
    import torch
    import ttnn


def values_of(tensor: ttnn.Tensor) -> torch.Tensor:
    """What a host tensor on one chip holds, in the type values are kept in."""
    values: torch.Tensor = tensor.to_torch()
    return values.to(storage_dtype(tensor.dtype))


def to_host(memory: DeviceMemory, tensor: ttnn.Tensor) -> ttnn.Tensor:
    """A host tensor with the values of a device tensor: same shape, dtype and layout; one shard per chip on a mesh."""
    import ttnn

    shards = memory.read(tensor)
    made: dict[int, ttnn.Tensor] = {}
    for values in shards.values():
        if id(values) not in made:
            tile = tensor.get_tile() if tensor.layout == ttnn.TILE_LAYOUT else None
            made[id(values)] = ttnn.Tensor(values.contiguous(), data_type=tensor.dtype, layout=tensor.layout, tile=tile)
    parts = [made[id(values)] for values in shards.values()]
    return parts[0] if len(parts) == 1 else ttnn.from_host_shards(parts, tensor.device().shape)


def write_from_host(memory: DeviceMemory, source: ttnn.Tensor, target: ttnn.Tensor, *, padding: float = 0.0) -> None:
    """Let a device tensor hold what a host tensor does; a host tensor with one shard goes to every chip."""
    import ttnn

    parts = ttnn.get_device_tensors(source)
    values = [values_of(part) for part in parts]
    chips = chips_of(target)
    if len(values) == 1:
        values *= len(chips)
    if len(values) != len(chips):
        raise EmulationError(f"a host tensor of {len(parts)} shards can't be written to {len(chips)} chips")
    memory.write(target, dict(zip(chips, values, strict=True)), padding=padding)


def write_unknown(memory: DeviceMemory, tensor: ttnn.Tensor) -> None:
    """Mark a fresh buffer as never written: NaN, or the greatest integer, so that reading it early can't go unseen."""
    import torch

    if not is_on_device(tensor):
        return
    dtype = storage_dtype(tensor.dtype)
    unknown = math.nan if dtype.is_floating_point else torch.iinfo(dtype).max
    values = torch.full(tuple(tensor.shape), unknown, dtype=dtype)
    memory.write(tensor, dict.fromkeys(chips_of(tensor), values))


def is_on_device(tensor: ttnn.Tensor) -> bool:
    """Whether a tensor lives on a device."""
    import ttnn

    return bool(tensor.storage_type() == ttnn.StorageType.DEVICE)
