"""Between host and device: moving values in and out.

A host tensor of TT-NN is genuine and holds its values itself, packed by TT-NN; so writing to the device takes the
values TT-NN's packer left in the host tensor, and reading makes a host tensor from values that are already rounded,
which packing does not change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.values import DeviceMemory, chips_of, unknown_values

if TYPE_CHECKING:
    import torch
    import ttnn


def values_of(tensor: ttnn.Tensor) -> torch.Tensor:
    """What a host tensor on one chip holds, in the type values are kept in."""
    values: torch.Tensor = tensor.to_torch()
    return values.to(storage_dtype(tensor.dtype))


def to_host(memory: DeviceMemory, tensor: ttnn.Tensor, *, placed: bool = False) -> ttnn.Tensor:
    """A host tensor with the values of a device tensor: same shape, dtype and layout; one shard per chip on a mesh.

    With `placed` also of the same memory config, which costs more and matters only if the tensor goes back to a device.
    """
    import ttnn

    shards = memory.read(tensor)
    made: dict[int, ttnn.Tensor] = {}
    for values in shards.values():
        if id(values) not in made:
            tile = tensor.get_tile() if tensor.layout == ttnn.TILE_LAYOUT else None
            made[id(values)] = ttnn.Tensor(
                values.contiguous(),
                data_type=tensor.dtype,
                layout=tensor.layout,
                tile=tile,
                mem_config=tensor.memory_config() if placed else None,
                pad_value=memory.padding_of(tensor),
            )
    parts = [made[id(values)] for values in shards.values()]
    if len(parts) == 1:
        return parts[0]
    mesh = tensor.device()
    if len(parts) < mesh.get_num_devices():
        return _on_some_chips(tensor, list(shards.values()))
    host = ttnn.from_host_shards(parts, mesh.shape)
    host.update_tensor_topology(tensor.tensor_topology())
    return host


def overwrite(target: ttnn.Tensor, source: ttnn.Tensor) -> None:
    """Let a host tensor hold what another of the same kind and distribution does, in the memory it has."""
    for old, new in zip(_bytes(target), _bytes(source), strict=True):
        old.copy_(new)


def _bytes(tensor: ttnn.Tensor) -> list[torch.Tensor]:
    """The memory of a host tensor's shards, as bytes that can be written."""
    import torch
    import ttnn

    buffer = tensor.host_buffer()
    places = itertools.product(*map(range, buffer.shape()))
    shards = [buffer.get_shard(ttnn.MeshCoordinate(place)) for place in places]
    return [torch.utils.dlpack.from_dlpack(shard.__array__()) for shard in shards]


def _on_some_chips(tensor: ttnn.Tensor, shards: list[torch.Tensor]) -> ttnn.Tensor:
    """A host tensor whose parts, as those of a device tensor, cover a corner of the mesh and not all of it."""
    import torch
    import ttnn

    topology = tensor.tensor_topology()
    distribution = tuple(topology.distribution_shape())
    joined = shards
    for axis, count in reversed(list(enumerate(distribution))):
        joined = [torch.cat(joined[at : at + count], dim=axis) for at in range(0, len(joined), count)]
    placements = [ttnn.PlacementShard(axis) for axis in range(len(distribution))]
    mapper = ttnn.create_mesh_mapper(tensor.device(), ttnn.MeshMapperConfig(placements, ttnn.MeshShape(distribution)))
    host = ttnn.from_torch(joined[0], dtype=tensor.dtype, layout=tensor.layout, mesh_mapper=mapper)
    host.update_tensor_topology(topology)
    return host


def write_from_host(
    memory: DeviceMemory,
    source: ttnn.Tensor,
    target: ttnn.Tensor,
    *,
    padding: float = 0.0,
    chosen: torch.Tensor | None = None,
) -> None:
    """Let a device tensor hold what a host tensor does; a host tensor with one shard goes to every chip.

    Of the elements that are not `chosen` (bool, of a chip's logical shape) it keeps its own.
    """
    import torch
    import ttnn

    parts = ttnn.get_device_tensors(source)
    values = _held_once(values_of(part) for part in parts)
    chips = chips_of(target)
    if len(values) == 1:
        values *= len(chips)
    if len(values) != len(chips):
        raise EmulationError(f"a host tensor of {len(parts)} shards can't be written to {len(chips)} chips")
    shards = dict(zip(chips, values, strict=True))
    if chosen is not None:
        kept = memory.read_or_unknown(target, chips)
        shards = {chip: torch.where(chosen, part, kept[chip]) for chip, part in shards.items()}
    memory.write(target, shards, padding=padding)


def _held_once(parts: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The parts, with one tensor object for those that are equal, as after replication."""
    distinct: dict[bytes, list[torch.Tensor]] = {}
    return [_known(part, distinct.setdefault(_sample(part), [])) for part in parts]


def _known(part: torch.Tensor, known: list[torch.Tensor]) -> torch.Tensor:
    import torch

    for other in known:
        if torch.equal(_bits(part), _bits(other)):
            return other
    known.append(part)
    return part


def _sample(part: torch.Tensor) -> bytes:
    """A few elements, so that parts that differ are rarely compared in full."""
    flat = part.reshape(-1)
    return bytes(flat[:: max(1, flat.numel() // 64)].numpy().tobytes())


def _bits(part: torch.Tensor) -> torch.Tensor:
    """What tells 0 from -0 and one NaN from another."""
    import torch

    return part.view(torch.int32) if part.dtype == torch.float32 else part


def write_unknown(memory: DeviceMemory, tensor: ttnn.Tensor) -> None:
    """Mark a fresh buffer as never written: NaN, or the greatest integer, so that reading it early can't go unseen."""
    if is_on_device(tensor):
        memory.write(tensor, dict.fromkeys(chips_of(tensor), unknown_values(tensor)))


def is_on_device(tensor: ttnn.Tensor) -> bool:
    """Whether a tensor lives on a device."""
    import ttnn

    return bool(tensor.storage_type() == ttnn.StorageType.DEVICE)
