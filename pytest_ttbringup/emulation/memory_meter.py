"""Peak use of a device's DRAM and L1, as TT-NN's allocator has it.

Asking the allocator after every operation would cost as much as the operation (0.5 ms with 600 live buffers). So the
meter keeps a book of what it saw allocated, with sizes that the allocator gave, and asks only when the book reaches a
new peak: the book may hold buffers that died without a word, never miss one. The peak is the allocator's own figure.

The circular buffers of programs are not in it. TT-NN tells of them in a graph capture only, which costs 2 ms for an
operation and then knows them of programs that it compiles, not of those in its cache (measured with ttnn 0.81.1). What
does not fit beside them TT-NN refuses all the same ("Statically allocated circular buffers … clash with L1 buffers").
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.allocator import allocated

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.values import Place


class MemoryPeak(NamedTuple):
    """Greatest use of one kind of memory, in bytes of one bank (a core's L1, a DRAM channel)."""

    kind: str
    peak: int
    size: int
    banks: int


@dataclass
class _Book:
    mesh: ttnn.MeshDevice
    sizes: dict[Place, int] = field(default_factory=dict)
    used: Counter[Any] = field(default_factory=Counter)
    peaks: Counter[Any] = field(default_factory=Counter)

    def copy_allocator(self) -> None:
        self.sizes = allocated(self.mesh)
        self.used = Counter()
        for place, size in self.sizes.items():
            self.used[place[1]] += size
        for kind, used in self.used.items():
            self.peaks[kind] = max(self.peaks[kind], used)


class MemoryMeter:
    """Measures the devices it was started for."""

    def __init__(self) -> None:
        self._books: dict[int, _Book] = {}
        self._size_of: dict[tuple[Any, ...], int] = {}

    def start(self, mesh: ttnn.MeshDevice) -> None:
        """Measure this mesh device from here on; what is allocated already counts."""
        book = self._books[mesh.id()] = _Book(mesh)
        book.copy_allocator()

    def stop(self, mesh: ttnn.MeshDevice) -> list[MemoryPeak]:
        """The peaks since `start`: DRAM and L1."""
        import ttnn

        book = self._books.pop(mesh.id(), None)
        if book is None:
            return []
        book.copy_allocator()
        peaks = []
        for kind in (ttnn.BufferType.DRAM, ttnn.BufferType.L1):
            view = ttnn.get_memory_view(mesh, kind)
            peaks.append(MemoryPeak(kind.name, book.peaks[kind.value], view.total_bytes_per_bank, view.num_banks))
        return peaks

    def close(self, device: int) -> None:
        """Forget a device."""
        self._books.pop(device, None)

    def allocated(self, tensor: ttnn.Tensor, place: Place) -> None:
        """Note a new buffer."""
        book = self._books.get(place[0])
        if book is None:
            return
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
