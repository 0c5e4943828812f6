"""The value plane's memory: what every device buffer holds.

Values are kept per buffer and not per tensor, so address reuse, views, in-place operations and deallocation behave as
on a device. A buffer is known by TT-Metal's `buffer_unique_id`, which views share and a later buffer at the same
address does not. For every chip of a mesh there is one torch tensor of the logical shape, in `formats.storage_dtype`;
chips that hold the same share one tensor object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import storage_dtype

if TYPE_CHECKING:
    import torch
    import ttnn

Chip = tuple[int, ...]
"""A mesh coordinate."""

Shards = dict[Chip, "torch.Tensor"]
"""What each chip holds: float32 or integers, of the tensor's logical shape."""


class Form(NamedTuple):
    """How a tensor lays its values out in its buffer; two tensors on one buffer may differ in it.

    Kept as TT-NN gives it: turning shapes into tuples costs more than the rest of most operations' bookkeeping.
    """

    shape: ttnn.Shape
    padded_shape: ttnn.Shape
    layout: ttnn.Layout
    tile: ttnn.Tile
    dtype: ttnn.DataType

    @classmethod
    def of(cls, tensor: ttnn.Tensor) -> Form:
        return cls(tensor.shape, tensor.padded_shape, tensor.layout, tensor.tile, tensor.dtype)

    @property
    def tile_shape(self) -> tuple[int, int] | None:
        """Rows and columns of a tile, None in row-major layout."""
        import ttnn

        return tuple(self.tile.tile_shape) if self.layout == ttnn.TILE_LAYOUT else None


@dataclass
class _Contents:
    shards: Shards
    form: Form
    place: tuple[int, ttnn.BufferType, int]
    padding: float
    shared: bool
    """Whether another buffer may hold the very same torch tensors, which must then not be written in place."""


class DeviceMemory:
    """The contents of all live device buffers of this process."""

    _SWEEP_AT_LEAST = 512

    def __init__(self) -> None:
        self._contents: dict[int, _Contents] = {}
        self._buffer_at: dict[tuple[int, ttnn.BufferType, int], int] = {}
        self._sweep_above = self._SWEEP_AT_LEAST

    def read(self, tensor: ttnn.Tensor) -> Shards:
        """The values of a device tensor on each of its chips. Not to be written to.

        Raises:
            EmulationError: the tensor was deallocated, nothing ever wrote its buffer, or it views its buffer in a form
                that can't be told from the one it was written in.
        """
        contents = self._find(tensor)
        chips = chips_of(tensor)
        shards = contents.shards if len(chips) == len(contents.shards) else {c: contents.shards[c] for c in chips}
        if tensor.shape == contents.form.shape and tensor.dtype == contents.form.dtype:
            return shards
        return _each(shards, lambda values: _reform(values, contents.form, Form.of(tensor), contents.padding))

    def write(self, tensor: ttnn.Tensor, shards: Shards, *, padding: float = math.nan) -> None:
        """Let the buffer of a device tensor hold `shards` from now on.

        Args:
            tensor: an allocated device tensor.
            shards: for every chip of it, values of its logical shape, already rounded to its dtype.
            padding: what lies between the logical and the padded shape: NaN (the default) where the device leaves
                whatever the kernel computed there.
        """
        import ttnn

        buffer = tensor.buffer_unique_id()
        place = (tensor.device().id(), tensor.memory_config().buffer_type, tensor.buffer_address())
        before = self._buffer_at.get(place)
        if before is not None and before != buffer:
            self._contents.pop(before, None)
        held = self._contents.get(buffer)
        if held is not None and len(held.shards) > len(shards):  # one chip's part of a mesh tensor
            shards = held.shards | shards
        self._contents[buffer] = _Contents(shards, Form.of(tensor), place, padding, shared=False)
        self._buffer_at[place] = buffer
        if len(self._contents) > self._sweep_above:
            self._sweep(place[0], ttnn._ttnn.reports.get_buffers([tensor.device()]))

    def read_or_unknown(self, tensor: ttnn.Tensor, chips: list[Chip]) -> Shards:
        """What these chips' parts of a device tensor hold; where nothing was ever written, values that can't go unseen
        (`unknown_values`).
        """
        if tensor.buffer_unique_id() in self._contents:
            held = self.read(tensor)
            return {chip: held[chip] for chip in chips}
        return dict.fromkeys(chips, unknown_values(tensor))

    def writable(self, tensor: ttnn.Tensor) -> Shards:
        """The values of a device tensor, to be updated in place: every view of the buffer sees it, no other buffer
        does.
        """
        contents = self._find(tensor)
        if contents.shared:
            contents.shards = _each(contents.shards, lambda values: values.clone())
            contents.shared = False
        if tensor.shape != contents.form.shape:
            contents.shards, contents.form = self.read(tensor), Form.of(tensor)
        return contents.shards

    def mark_shared(self, tensor: ttnn.Tensor) -> None:
        """Note that values of this tensor's buffer may be part of another buffer's as well."""
        contents = self._contents.get(tensor.buffer_unique_id())
        if contents is not None:
            contents.shared = True

    def free(self, buffer: int) -> None:
        """Forget a buffer that TT-NN has deallocated."""
        contents = self._contents.pop(buffer, None)
        if contents is not None and self._buffer_at.get(contents.place) == buffer:
            del self._buffer_at[contents.place]

    def clear(self) -> None:
        """Forget everything: the device was closed."""
        self._contents.clear()
        self._buffer_at.clear()
        self._sweep_above = self._SWEEP_AT_LEAST

    def _find(self, tensor: ttnn.Tensor) -> _Contents:
        if not tensor.is_allocated():
            raise EmulationError(
                f"read of a deallocated tensor (shape {list(tensor.shape)}, {tensor.dtype.name}): its buffer was "
                "freed by ttnn.deallocate, by an operation that consumes its input, or by closing the device."
            )
        contents = self._contents.get(tensor.buffer_unique_id())
        if contents is None:
            raise EmulationError(
                f"no value is known for the device tensor of shape {list(tensor.shape)}, {tensor.dtype.name}, at "
                f"address {tensor.buffer_address():#x}: it was made by a call that the emulated device does not see. "
                "Make it with ttnn.from_torch(..., device=...), ttnn.to_device or an operation."
            )
        return contents

    def _sweep(self, device: int, live: Iterable[ttnn._ttnn.reports.BufferInfo]) -> None:
        """Drop what belongs to buffers that TT-NN has freed since, when a Python tensor died without a word."""
        places = {(device, buffer.buffer_type, buffer.address) for buffer in live}
        for buffer, contents in list(self._contents.items()):
            if contents.place[0] == device and contents.place not in places:
                self.free(buffer)
        self._sweep_above = max(self._SWEEP_AT_LEAST, 2 * len(self._contents))


_ONE_CHIP: list[Chip] = [(0, 0)]


def chips_of(tensor: ttnn.Tensor) -> list[Chip]:
    """The mesh coordinates on which a device tensor has a part, in row-major order."""
    if tensor.device().get_num_devices() == 1:
        return _ONE_CHIP
    return [tuple(coordinate) for coordinate in tensor.device_coords()]


def unknown_values(tensor: ttnn.Tensor) -> torch.Tensor:
    """Values for a buffer that was never written: NaN, or the greatest integer."""
    import torch

    dtype = storage_dtype(tensor.dtype)
    unknown = math.nan if dtype.is_floating_point else torch.iinfo(dtype).max
    return torch.full(tuple(tensor.shape), unknown, dtype=dtype)


def _each(shards: Shards, function: Callable[[torch.Tensor], torch.Tensor]) -> Shards:
    """Apply `function` to every chip's values, once where chips share them."""
    done: dict[int, torch.Tensor] = {}
    for values in shards.values():
        if id(values) not in done:
            done[id(values)] = function(values)
    return {chip: done[id(values)] for chip, values in shards.items()}


def _reform(values: torch.Tensor, written: Form, read: Form, padding: float) -> torch.Tensor:
    """Read values that were written in one form through a tensor of another, as the bytes of the buffer would have
    it.
    """
    if written.dtype != read.dtype or math.prod(tuple(written.padded_shape)) != math.prod(tuple(read.padded_shape)):
        raise EmulationError(
            f"a buffer written as {list(written.shape)} {written.dtype.name} is read as {list(read.shape)} "
            f"{read.dtype.name}: the emulated device can't tell what it holds then, since dtype or padded size differ."
        )
    return _from_memory(_in_memory(values, written, padding), read)


def _in_memory(values: torch.Tensor, form: Form, padding: float) -> torch.Tensor:
    """[*shape] -> the padded values in the order in which the buffer holds them, flat."""
    import torch

    sizes = zip(tuple(form.shape), tuple(form.padded_shape), strict=True)
    pads = [amount for size, padded in sizes for amount in (padded - size, 0)]
    if any(pads):
        fill = padding if values.is_floating_point() or not math.isnan(padding) else 0
        values = torch.nn.functional.pad(values, pads[::-1], value=fill)
    if form.tile_shape is None:
        return values.reshape(-1)
    height, width = form.tile_shape
    rows, columns = tuple(form.padded_shape)[-2:]
    tiles = values.reshape(-1, rows // height, height, columns // width, width)
    return tiles.transpose(2, 3).reshape(-1)


def _from_memory(flat: torch.Tensor, form: Form) -> torch.Tensor:
    """The inverse of `_in_memory`: flat padded values -> [*shape]."""
    padded_shape = tuple(form.padded_shape)
    if form.tile_shape is None:
        padded = flat.reshape(padded_shape)
    else:
        height, width = form.tile_shape
        rows, columns = padded_shape[-2:]
        tiles = flat.reshape(-1, rows // height, columns // width, height, width)
        padded = tiles.transpose(2, 3).reshape(padded_shape)
    return padded[tuple(slice(0, size) for size in tuple(form.shape))]
