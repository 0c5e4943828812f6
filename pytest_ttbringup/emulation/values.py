"""The value plane's memory: what every device buffer holds.

Values are kept per buffer and not per tensor, so address reuse, views, in-place operations and deallocation behave as
on a device. A buffer is known by TT-Metal's `buffer_unique_id`, which views share and a later buffer at the same
address does not. For every chip of a mesh there is one torch tensor of the logical shape, in `formats.storage_dtype`;
chips that hold the same share one tensor object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.filled import is_filled, to_write
from pytest_ttbringup.emulation.formats import storage_dtype
from pytest_ttbringup.emulation.graph_captures import GraphCaptures
from pytest_ttbringup.emulation.memory_meter import MemoryMeter

if TYPE_CHECKING:
    import torch
    import ttnn

Chip = tuple[int, ...]
"""A mesh coordinate."""

Place = tuple[int, int, int]
"""Where a buffer lies: the id of its mesh device, the kind of memory (the value of its `ttnn.BufferType`, which is
hashed faster than the enumeration's member), the address.
"""

Shards = dict[Chip, "torch.Tensor"]
"""What each chip holds, in the mesh's order (row by row): float32 or integers, of the tensor's logical shape."""


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


@dataclass(slots=True)
class _Contents:
    shards: Shards
    form: Form
    place: Place
    padding: float
    shared: bool
    """Whether another buffer may hold the very same torch tensors, which must then not be written in place."""
    unreadable: str = ""
    """Why the buffer holds nothing a program may rely on, if so."""


class DeviceMemory:
    """The contents of all live device buffers of this process.

    A tensor that dies without `ttnn.deallocate` dies in C++, which tells nobody. Its values go when dead buffers are
    looked for: once 32 MiB of values were stored in new buffers, or many small ones, and at the end of each test on a
    mesh device. So the dead hold at most what was alive at the last look, and 32 MiB.
    """

    _SWEEP_AT_LEAST = 512
    _SWEEP_BYTES = 32 << 20
    """Bytes of new values after which dead buffers are looked for."""

    def __init__(self) -> None:
        self.graph_captures = GraphCaptures()
        self.meter = MemoryMeter(self.graph_captures)
        self._bytes_new = 0
        self._contents: dict[int, _Contents] = {}
        self._buffer_at: dict[Place, int] = {}
        self._sweep_above = self._SWEEP_AT_LEAST
        self._sweeping_off = False
        self.closed: set[int] = set()
        """Ids of mesh devices that were closed; TT-Metal gives each mesh device of a process its own."""

    def read(self, tensor: ttnn.Tensor) -> Shards:
        """The values of a device tensor on each of its chips. Not to be written to.

        Raises:
            EmulationError: the tensor was deallocated, nothing ever wrote its buffer, or it views its buffer in a form
                that can't be told from the one it was written in.
        """
        if not tensor.logical_volume():  # TT-Metal allocates nothing for it, so many may lie at one address
            self.check_allocated(tensor)
            return dict.fromkeys(chips_of(tensor), unknown_values(tensor))
        contents = self._find(tensor)
        chips = chips_of(tensor)
        shards = contents.shards if len(chips) == len(contents.shards) else {c: contents.shards[c] for c in chips}
        if tensor.shape == contents.form.shape and tensor.dtype == contents.form.dtype:
            return shards
        return _each(shards, lambda values: _reform(values, contents.form, Form.of(tensor), contents.padding))

    def read_padded(self, tensor: ttnn.Tensor) -> Shards:
        """As `read`, of the padded shape; NaN (or zero, for integers) where nothing is known of the padding."""
        form = Form.of(tensor)
        whole = form._replace(shape=form.padded_shape)
        padding = self._find(tensor).padding
        return _each(self.read(tensor), lambda values: _reform(values, form, whole, padding))

    def write(self, tensor: ttnn.Tensor, shards: Shards, *, padding: float = math.nan) -> None:
        """Let the buffer of a device tensor hold `shards` from now on.

        Args:
            tensor: an allocated device tensor.
            shards: for every chip of it, values of its logical shape, already rounded to its dtype.
            padding: what lies between the logical and the padded shape: NaN (the default) where the device leaves
                whatever the kernel computed there.
        """
        if self.graph_captures.sends_nothing():
            return
        buffer = tensor.buffer_unique_id()
        place = place_of(tensor)
        self._take(place, buffer)
        held = self._contents.get(buffer)
        if held is not None and len(held.shards) > len(shards):  # one chip's part of a mesh tensor
            shards = held.shards | shards
        self._contents[buffer] = _Contents(shards, Form.of(tensor), place, padding, shared=False)
        if held is None:
            self._bytes_new += _size(shards)
            if not self._sweeping_off:
                self.meter.allocated(tensor, place)
        too_many = len(self._contents) > self._sweep_above
        if (
            (too_many or self._bytes_new > self._SWEEP_BYTES)
            and not self._sweeping_off
            and self.graph_captures.allocator_answers()
        ):
            self.sweep(tensor.device())

    def read_or_unknown(self, tensor: ttnn.Tensor, chips: list[Chip]) -> Shards:
        """What these chips' parts of a device tensor hold; where nothing was ever written, or nothing that a program
        may rely on, values that can't go unseen (`unknown_values`).
        """
        contents = self._contents.get(tensor.buffer_unique_id())
        if contents is not None and not contents.unreadable:
            held = self.read(tensor)
            return {chip: held[chip] for chip in chips}
        return dict.fromkeys(chips, unknown_values(tensor))

    def withhold(self, tensor: ttnn.Tensor, why: str) -> None:
        """Let the buffer of a device tensor hold nothing until it is written: reading it says why."""
        buffer, place = tensor.buffer_unique_id(), place_of(tensor)
        self._take(place, buffer)
        self._contents[buffer] = _Contents({}, Form.of(tensor), place, math.nan, shared=False, unreadable=why)
        self.meter.allocated(tensor, place)

    def spoil(self, place: Place, buffer: int, form: Form, why: str) -> None:
        """Something overwrote a buffer behind its tensors' backs: reading it says so until it is written again."""
        self._take(place, buffer)
        self._contents[buffer] = _Contents({}, form, place, math.nan, shared=False, unreadable=why)

    @contextmanager
    def without_sweeps(self) -> Iterator[None]:
        """Keep values even of buffers that TT-NN knows nothing of: a replayed trace's intermediates."""
        self._sweeping_off = True
        try:
            yield
        finally:
            self._sweeping_off = False

    def buffer_at(self, place: Place) -> int | None:
        """The buffer that was last written at a place; it may have been freed since without a word."""
        return self._buffer_at.get(place)

    def form_of(self, buffer: int) -> Form | None:
        """How a buffer was written, if it was."""
        contents = self._contents.get(buffer)
        return contents.form if contents is not None else None

    def padding_of(self, tensor: ttnn.Tensor) -> float:
        """What lies between the logical and the padded shape of a device tensor, zero where nothing is known."""
        contents = self._contents.get(tensor.buffer_unique_id())
        return 0.0 if contents is None or math.isnan(contents.padding) else contents.padding

    def why_unreadable(self, buffer: int) -> str:
        """Why a buffer holds nothing a program may rely on; empty if it does."""
        contents = self._contents.get(buffer)
        return contents.unreadable if contents is not None else ""

    def writable(self, tensor: ttnn.Tensor) -> Shards:
        """The values of a device tensor, to be updated in place: every view of the buffer sees it, no other buffer
        does.
        """
        contents = self._find(tensor)
        if contents.shared or any(is_filled(values) for values in contents.shards.values()):
            contents.shards = _each(contents.shards, to_write)
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
            self.meter.freed(contents.place)

    def close(self, device: int) -> None:
        """Forget the buffers of one mesh device."""
        for buffer, contents in list(self._contents.items()):
            if contents.place[0] == device:
                self.free(buffer)
        self.meter.close(device)
        self.closed.add(device)

    def clear(self) -> None:
        """Forget everything: the device was closed."""
        self._contents.clear()
        self._buffer_at.clear()
        self._sweep_above = self._SWEEP_AT_LEAST

    def check_allocated(self, tensor: ttnn.Tensor) -> None:
        """Refuse a tensor that has no buffer any more.

        Raises:
            EmulationError: it was deallocated, or its device closed.
        """
        if tensor.buffer_unique_id() is None:
            # TT-NN calls a view allocated even when its buffer was freed through another tensor.
            raise EmulationError(
                f"read of a deallocated tensor (shape {list(tensor.shape)}, {tensor.dtype.name}): its buffer was "
                "freed by ttnn.deallocate (of it or of a view), by an operation that consumes its input, or by "
                "closing the device."
            )
        if self.closed and tensor.device().id() in self.closed:
            raise EmulationError(
                f"use of a tensor (shape {list(tensor.shape)}, {tensor.dtype.name}) of a mesh device that was closed: "
                "its buffer is gone. Read it with ttnn.to_torch before ttnn.close_mesh_device."
            )

    def _take(self, place: Place, buffer: int) -> None:
        before = self._buffer_at.get(place)
        if before is not None and before != buffer:
            self._contents.pop(before, None)
        self._buffer_at[place] = buffer

    def _find(self, tensor: ttnn.Tensor) -> _Contents:
        self.check_allocated(tensor)
        contents = self._contents.get(tensor.buffer_unique_id())
        if contents is None:
            raise EmulationError(
                f"no value is known for the device tensor of shape {list(tensor.shape)}, {tensor.dtype.name}, at "
                f"address {tensor.buffer_address():#x}: it was made by a call that the emulated device does not see. "
                "Make it with ttnn.from_torch(..., device=...), ttnn.to_device or an operation."
            )
        if contents.unreadable:
            raise EmulationError(
                f"read of the tensor of shape {list(tensor.shape)}, {tensor.dtype.name}: {contents.unreadable}"
            )
        return contents

    def sweep(self, mesh: ttnn.MeshDevice) -> None:
        """Drop what belongs to buffers that TT-NN has freed since, when a tensor died without a word."""
        import ttnn

        device = mesh.id()
        live = ttnn._ttnn.reports.get_buffers([mesh])
        places = {(device, buffer.buffer_type.value, buffer.address) for buffer in live}
        for buffer, contents in list(self._contents.items()):
            if contents.place[0] == device and contents.place not in places:
                self.free(buffer)
        self._sweep_above = max(self._SWEEP_AT_LEAST, 2 * len(self._contents))
        self._bytes_new = 0

    def bytes_held(self) -> int:
        """Host memory of all values; what buffers share counts once for each."""
        return sum(_size(contents.shards) for contents in self._contents.values())


def place_of(tensor: ttnn.Tensor) -> Place:
    """Where the buffer of an allocated device tensor lies."""
    return tensor.device().id(), tensor.memory_config().buffer_type.value, tensor.buffer_address()


_ONE_CHIP: list[Chip] = [(0, 0)]


def chips_of(tensor: ttnn.Tensor) -> list[Chip]:
    """The mesh coordinates on which a device tensor has a part, in row-major order."""
    if tensor.device().get_num_devices() == 1:
        return _ONE_CHIP
    return [tuple(coordinate) for coordinate in tensor.device_coords()]


def unknown_values(tensor: ttnn.Tensor) -> torch.Tensor:
    """Values for a buffer that was never written: NaN, or the greatest integer. The host holds one number of them."""
    import torch

    dtype = storage_dtype(tensor.dtype)
    unknown = math.nan if dtype.is_floating_point else torch.iinfo(dtype).max
    return torch.full((), unknown, dtype=dtype).expand(tuple(tensor.shape))


def _size(shards: Shards) -> int:
    """Bytes of the values, those that chips share once."""
    distinct = {id(values): values for values in shards.values()}.values()
    return sum(values.element_size() if is_filled(values) else values.nbytes for values in distinct)


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
    if _in_one_order(written, read):
        return values.reshape(tuple(read.shape))  # of a KV cache, which the host's memory may not hold all of
    return _from_memory(_in_memory(values, written, padding), read)


def _in_one_order(one: Form, other: Form) -> bool:
    """Whether two forms of a buffer have its values in the same order: without padding, rows of tiles of one width."""
    padded = any(tuple(form.shape) != tuple(form.padded_shape) for form in (one, other))
    return not padded and one.tile_shape == other.tile_shape and one.shape[-1] == other.shape[-1]


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
