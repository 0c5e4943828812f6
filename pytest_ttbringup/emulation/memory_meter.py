"""Peak use of a device's DRAM and L1, as TT-NN's allocator has it.

Asking the allocator after every operation would cost as much as the operation (0.5 ms with 600 live buffers). So the
meter keeps a book of what it saw allocated, with sizes that the allocator gave, and asks only when the book reaches a
new peak: the book may hold buffers that died without a word, never miss one. The peak is the allocator's own figure.

A program's circular buffers are in no allocator. Whoever runs an operation tells the meter what its programs took
(`ProgramMemory`), which with the buffers of that moment makes the peak of L1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.allocator import allocated
from pytest_ttbringup.emulation.graph_captures import GraphCaptures

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.values import Place


class MemoryPeak(NamedTuple):
    """Greatest use of one kind of memory, in bytes of one bank (a core's L1, a DRAM channel)."""

    kind: str
    peak: int
    """Of L1, with the circular buffers of the program that ran then."""
    buffers: int
    """Of the buffers of tensors alone."""
    size: int
    banks: int


@dataclass
class _Book:
    mesh: ttnn.MeshDevice
    sizes: dict[Place, int] = field(default_factory=dict)
    used: Counter[Any] = field(default_factory=Counter)
    peaks: Counter[Any] = field(default_factory=Counter)
    with_programs: int = 0
    """The peak of L1, programs included."""
    size_of_l1: int = 0

    def copy_allocator(self) -> None:
        self.sizes = allocated(self.mesh)
        self.used = Counter()
        for place, size in self.sizes.items():
            self.used[place[1]] += size
        for kind, used in self.used.items():
            self.peaks[kind] = max(self.peaks[kind], used)


class MemoryMeter:
    """Measures the devices it was started for."""

    def __init__(self, graph_captures: GraphCaptures) -> None:
        self._graph_captures = graph_captures
        self._books: dict[int, _Book] = {}
        self._size_of: dict[tuple[Any, ...], int] = {}

    def start(self, mesh: ttnn.MeshDevice) -> None:
        """Measure this mesh device from here on; what is allocated already counts."""
        import ttnn

        if self._graph_captures.allocator_answers():
            book = self._books[mesh.id()] = _Book(mesh)
            book.copy_allocator()
            book.size_of_l1 = ttnn.get_memory_view(mesh, ttnn.BufferType.L1).total_bytes_per_bank

    def stop(self, mesh: ttnn.MeshDevice) -> list[MemoryPeak]:
        """The peaks since `start`: DRAM and L1."""
        import ttnn

        book = self._books.pop(mesh.id(), None)
        if book is None or not self._graph_captures.allocator_answers():
            return []
        book.copy_allocator()
        peaks = []
        for kind in (ttnn.BufferType.DRAM, ttnn.BufferType.L1):
            view = ttnn.get_memory_view(mesh, kind)
            buffers = book.peaks[kind.value]
            peak = max(buffers, book.with_programs) if kind == ttnn.BufferType.L1 else buffers
            peaks.append(MemoryPeak(kind.name, peak, buffers, view.total_bytes_per_bank, view.num_banks))
        return peaks

    def close(self, device: int) -> None:
        """Forget a device."""
        self._books.pop(device, None)

    def measures(self, device: int) -> bool:
        """Whether a device is measured now."""
        return device in self._books and self._graph_captures.allocator_answers()

    def ran(self, device: int, beside: int, again: Callable[[], int]) -> None:
        """Note an operation that has just run on a device that is measured.

        Args:
            device: the id of its mesh device.
            beside: the bytes of each core's L1 that it took at most beside all buffers that are allocated now.
            again: measures that of this very call, for when there was no room for so much: TT-NN chooses other programs
                when L1 is nearly full.
        """
        book, kind = self._books[device], _l1()
        if book.used[kind] + beside > book.with_programs:
            book.copy_allocator()
            if book.used[kind] + beside > book.size_of_l1:
                beside = again()
            book.with_programs = max(book.with_programs, book.used[kind] + beside)

    def allocated(self, tensor: ttnn.Tensor, place: Place) -> None:
        """Note a new buffer."""
        if not self.measures(place[0]):
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


@cache
def _l1() -> int:
    import ttnn

    return int(ttnn.BufferType.L1.value)


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
