"""Peak use of a device's DRAM and L1, as TT-NN's allocator has it.

Asking the allocator after every operation would cost as much as the operation (0.5 ms with 600 live buffers). So the
meter keeps a book of what it saw allocated, with sizes that the allocator gave, and asks only when the book reaches a
new peak: the book may hold buffers that died without a word, never miss one. The peak is the allocator's own figure.

What an operation takes while it runs, circular buffers above all, is in no allocator afterwards. Whoever runs one tells
the meter (`program_memory.Beside`), which with the buffers of that moment makes the peak. A submesh has an allocator of
its own, which knows nothing of its parent's, and so a book of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.allocator import allocated
from pytest_ttbringup.emulation.graph_captures import GraphCaptures
from pytest_ttbringup.emulation.program_memory import Beside

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.values import Place


class MemoryPeak(NamedTuple):
    """Greatest use of one kind of memory, in bytes of one bank (a core's L1, a DRAM channel)."""

    kind: str
    peak: int
    """With what operations took while they ran: circular buffers in L1, buffers that they freed themselves."""
    buffers: int
    """Of the buffers of tensors alone."""
    size: int
    banks: int


@dataclass
class _Book:
    mesh: ttnn.MeshDevice
    parent: int
    """The id of the mesh device that it was started with: its own, or that of which it is a submesh."""
    sizes: dict[Place, int] = field(default_factory=dict)
    used: Counter[int] = field(default_factory=Counter)
    peaks: Counter[int] = field(default_factory=Counter)
    with_programs: Counter[int] = field(default_factory=Counter)
    """The peaks with what operations took while they ran."""
    size: dict[int, int] = field(default_factory=dict)
    """Of a bank of each kind of memory."""
    replayed: dict[int, dict[Place, int]] = field(default_factory=dict)
    """What was allocated at the last replay of each trace."""

    def copy_allocator(self, sizes: dict[Place, int] | None = None) -> None:
        self.sizes = allocated(self.mesh) if sizes is None else dict(sizes)
        self.used = Counter()
        for place, size in self.sizes.items():
            self.used[place[1]] += size
        for kind, used in self.used.items():
            self.peaks[kind] = max(self.peaks[kind], used)


class MemoryMeter:
    """Measures the devices it was started for, and their submeshes."""

    def __init__(self, graph_captures: GraphCaptures) -> None:
        self._graph_captures = graph_captures
        self._books: dict[int, _Book] = {}
        self._size_of: dict[tuple[Any, ...], int] = {}
        self._closed: set[int] = set()

    def start(self, mesh: ttnn.MeshDevice) -> None:
        """Measure this mesh device from here on; what is allocated already counts."""
        self._books = {device: book for device, book in self._books.items() if book.parent != mesh.id()}
        if self._graph_captures.allocator_answers():
            for it in (mesh, *self.submeshes(mesh)):
                self._open(it, mesh.id())

    def stop(self, mesh: ttnn.MeshDevice) -> list[MemoryPeak]:
        """The peaks since `start`: DRAM and L1."""
        return self.stop_all(mesh).get(mesh.id(), [])

    def stop_all(self, mesh: ttnn.MeshDevice) -> dict[int, list[MemoryPeak]]:
        """The peaks since `start` of a mesh device and of each submesh on which anything was allocated, by id."""
        import ttnn

        books = {device: book for device, book in self._books.items() if book.parent == mesh.id()}
        self._books = {device: book for device, book in self._books.items() if device not in books}
        found: dict[int, list[MemoryPeak]] = {}
        for device, book in books.items() if self._graph_captures.allocator_answers() else ():
            book.copy_allocator()
            if device != mesh.id() and not book.peaks:
                continue
            for kind in (ttnn.BufferType.DRAM, ttnn.BufferType.L1):
                view, buffers = ttnn.get_memory_view(book.mesh, kind), book.peaks[kind.value]
                peak = max(buffers, book.with_programs[kind.value])
                found.setdefault(device, []).append(
                    MemoryPeak(kind.name, peak, buffers, view.total_bytes_per_bank, view.num_banks)
                )
        return found

    def close(self, device: int) -> None:
        """Forget a device."""
        self._books.pop(device, None)
        self._closed.add(device)

    def measures(self, device: int) -> bool:
        """Whether a device is measured now."""
        return device in self._books and self._graph_captures.allocator_answers()

    def ran(self, device: int, beside: Beside, again: Callable[[], Beside]) -> None:
        """Note an operation that has just run on a device that is measured.

        Args:
            device: the id of its mesh device.
            beside: what it took at most beside all buffers that are allocated now.
            again: measures that of this very call, for when there was no room for so much: TT-NN chooses other programs
                when L1 is nearly full.
        """
        book = self._books[device]
        if all(book.used[kind] + more <= book.with_programs[kind] for kind, more in beside.items()):
            return
        book.copy_allocator()
        if any(book.used[kind] + more > book.size[kind] for kind, more in beside.items()):
            beside = again()
        for kind, more in beside.items():
            book.with_programs[kind] = max(book.with_programs[kind], book.used[kind] + more)

    def replayed(
        self, device: int, trace: int, live: dict[Place, int], of_operations: Callable[[], Iterator[Beside]]
    ) -> None:
        """Note the replay of a trace.

        Args:
            device: the id of its mesh device.
            trace: its number.
            live: what is allocated now.
            of_operations: gives for each operation of the trace what it takes beside that. Not asked where the same was
                allocated at the last replay.
        """
        if not self.measures(device) or self._books[device].replayed.get(trace) == live:
            return
        book = self._books[device]
        book.replayed[trace] = live
        book.copy_allocator(live)
        for beside in of_operations():
            for kind, more in beside.items():
                book.with_programs[kind] = max(book.with_programs[kind], book.used[kind] + more)

    def allocated(self, tensor: ttnn.Tensor, place: Place) -> None:
        """Note a new buffer."""
        if not self._books or not self._graph_captures.allocator_answers():
            return
        if place[0] not in self._books:
            self._open_submesh(tensor.device())
            return
        book = self._books[place[0]]
        key = _kind_of_buffer(tensor)
        size = None if key is None else self._size_of.get(key)
        if size is None:  # the first of its kind: learn from the allocator
            book.copy_allocator()
            if key is not None and place in book.sizes:
                self._size_of[key] = book.sizes[place]
            return
        kind = place[1]
        book.used[kind] += size - book.sizes.get(place, 0)
        book.sizes[place] = size
        if book.used[kind] > book.peaks[kind]:
            book.copy_allocator()

    def freed(self, place: Place) -> None:
        """Note that a buffer was freed."""
        book = self._books.get(place[0])
        if book is not None:
            book.used[place[1]] -= book.sizes.pop(place, 0)

    def _open(self, mesh: ttnn.MeshDevice, parent: int) -> None:
        import ttnn

        book = self._books[mesh.id()] = _Book(mesh, parent)
        book.copy_allocator()
        for kind in (ttnn.BufferType.DRAM, ttnn.BufferType.L1):
            book.size[kind.value] = ttnn.get_memory_view(mesh, kind).total_bytes_per_bank

    def _open_submesh(self, mesh: ttnn.MeshDevice) -> None:
        """Measure a mesh device, too, if it is a submesh of one that is measured."""
        for parent in [book for device, book in self._books.items() if device == book.parent]:
            if any(it.id() == mesh.id() for it in self.submeshes(parent.mesh)):
                self._open(mesh, parent.parent)

    def submeshes(self, mesh: ttnn.MeshDevice) -> Iterator[ttnn.MeshDevice]:
        """The open ones of a mesh device, and theirs. TT-Metal lists those that were closed, too."""
        for it in mesh.get_submeshes():
            if it.id() not in self._closed:
                yield it
                yield from self.submeshes(it)


def _kind_of_buffer(tensor: ttnn.Tensor) -> tuple[Any, ...] | None:
    """Buffers of which this is equal take the same room; None where that can't be told cheaply."""
    config = tensor.memory_config()
    shard: tuple[int, ...] | None = None
    if config.is_sharded():
        if config.shard_spec is None:
            return None
        shard = tuple(config.shard_spec.shape)
    pages, page_size = tensor.buffer_num_pages(), tensor.buffer_aligned_page_size()
    return tensor.device().id(), config.buffer_type.value, config.memory_layout.value, pages, page_size, shard
