"""Between host and device: the calls that move values in and out, and those that make or end a buffer.

A host tensor of TT-NN is genuine and holds its values itself, packed by TT-NN; so writing to the device takes the values TT-NN's packer
left in the host tensor, and reading makes a host tensor from values that are already rounded, which packing does not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.values import DeviceMemory, Shards, chips_of

if TYPE_CHECKING:
    import torch
    import ttnn

Transfer = Callable[..., Any]
"""Takes TT-NN's function for the operation, then the operation's arguments."""


def values_of(tensor: ttnn.Tensor) -> torch.Tensor:
    """What a host tensor on one chip holds, in the type values are kept in."""
    return tensor.to_torch().to(storage_dtype(tensor.dtype))


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


def transfers(memory: DeviceMemory) -> dict[str, Transfer]:
    """The operations of TT-NN that move values rather than compute them, by full name."""

    def from_torch(function: Transfer, tensor: Any, *arguments: Any, device: Any = None, **keywords: Any) -> Any:
        import ttnn

        made = function(tensor, *arguments, **keywords)
        if device is None or made is None:
            return made
        placed = ttnn._ttnn.operations.core.to_device(made, device, memory_config=made.memory_config())
        write_from_host(memory, made, placed, padding=keywords.get("pad_value") or 0.0)
        return placed

    def to_device(function: Transfer, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        placed = function(tensor, *arguments, **keywords)
        if not _on_device(tensor):
            write_from_host(memory, tensor, placed)
        return placed

    def from_device(function: Transfer, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        return to_host(memory, tensor) if _on_device(tensor) else function(tensor, *arguments, **keywords)

    def copy_to_device(
        function: Transfer, host_tensor: ttnn.Tensor, device_tensor: ttnn.Tensor, *arguments: Any, **keywords: Any
    ) -> None:
        function(host_tensor, device_tensor, *arguments, **keywords)
        write_from_host(memory, host_tensor, device_tensor)

    def copy_to_host(function: Transfer, *_: Any, **__: Any) -> None:
        raise EmulationError(
            "ttnn.copy_device_to_host_tensor is not emulated: the emulated device can't write into an existing host tensor. "
            "Use ttnn.from_device or tensor.cpu(), which make a new one."
        )

    def allocate(function: Transfer, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        made = function(*arguments, **keywords)
        write_unknown(memory, made)
        return made

    def deallocate(function: Transfer, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> None:
        buffer = tensor.buffer_unique_id() if _on_device(tensor) and tensor.is_allocated() else None
        function(tensor, *arguments, **keywords)
        if buffer is not None and not tensor.is_allocated():
            memory.free(buffer)

    return {
        "ttnn.from_torch": from_torch,
        "ttnn.to_device": to_device,
        "ttnn.from_device": from_device,
        "ttnn.copy_host_to_device_tensor": copy_to_device,
        "ttnn.copy_device_to_host_tensor": copy_to_host,
        "ttnn.allocate_tensor_on_device": allocate,
        "ttnn.empty": allocate,
        "ttnn.empty_like": allocate,
        "ttnn.deallocate": deallocate,
    }


def write_unknown(memory: DeviceMemory, tensor: ttnn.Tensor) -> None:
    """Mark a fresh buffer as never written: NaN, or the greatest integer, so that reading it early can't go unseen."""
    import torch

    if not _on_device(tensor):
        return
    dtype = storage_dtype(tensor.dtype)
    unknown = math.nan if dtype.is_floating_point else torch.iinfo(dtype).max
    values = torch.full(tuple(tensor.shape), unknown, dtype=dtype)
    memory.write(tensor, dict.fromkeys(chips_of(tensor), values))


def _on_device(tensor: ttnn.Tensor) -> bool:
    import ttnn

    return bool(tensor.storage_type() == ttnn.StorageType.DEVICE)


def tensor_methods(memory: DeviceMemory) -> dict[str, Callable[..., Any]]:
    """Replacements for the methods of `ttnn.Tensor` that read a device tensor or put one on a device."""
    import ttnn

    original = {name: getattr(ttnn.Tensor, name) for name in _READING_METHODS}
    to, deallocate = ttnn.Tensor.to, ttnn.Tensor.deallocate
    moves = transfers(memory)

    def reading(name: str) -> Callable[..., Any]:
        def method(self: ttnn.Tensor, *arguments: Any, **keywords: Any) -> Any:
            return original[name](to_host(memory, self) if _on_device(self) else self, *arguments, **keywords)

        return method

    def cpu(self: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        return moves["ttnn.from_device"](original["cpu"], self, *arguments, **keywords)  # type: ignore[no-any-return]

    def to_method(self: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        if _on_device(self):
            return to(to_host(memory, self), *arguments, **keywords)  # a change of layout, which TT-NN does on the host
        made = to(self, *arguments, **keywords)
        if _on_device(made):
            write_from_host(memory, self, made)
        return made

    def deallocate_method(self: ttnn.Tensor, *arguments: Any, **keywords: Any) -> None:
        moves["ttnn.deallocate"](deallocate, self, *arguments, **keywords)

    methods = {name: reading(name) for name in _READING_METHODS}
    return methods | {"cpu": cpu, "to": to_method, "deallocate": deallocate_method}


_READING_METHODS = ("to_torch", "to_torch_with_padded_shape", "to_numpy", "to_list", "item", "host_buffer", "__repr__", "cpu")


def file_loader(memory: DeviceMemory) -> Callable[..., ttnn.Tensor]:
    """A replacement for TT-NN's reader of `.tensorbin` files, which can put the tensor on a device itself."""
    import ttnn

    original = ttnn._ttnn.tensor.load_tensor_flatbuffer

    def load_tensor_flatbuffer(file_name: str, device: ttnn.MeshDevice | None = None) -> ttnn.Tensor:
        loaded = original(file_name, None)
        if device is None:
            return loaded
        placed = ttnn._ttnn.operations.core.to_device(loaded, device, memory_config=loaded.memory_config())
        write_from_host(memory, loaded, placed)
        return placed

    return load_tensor_flatbuffer
