"""Stand-ins for device tensors: what a captured trace keeps of a tensor that may be gone when it is replayed.

Keeping the tensor itself would keep its buffer allocated, which the device does not do: the intermediates of a trace
are freed in the capture and their addresses used again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.values import Chip, Form, Place, chips_of, place_of

if TYPE_CHECKING:
    import ttnn


@dataclass
class Buffer:
    """A buffer that a trace reads or writes; all handles on it share this object."""

    number: int
    """TT-Metal's `buffer_unique_id`; at a replay, that of the buffer which is at this place then."""
    place: Place


@dataclass(frozen=True, eq=False)
class TensorHandle:
    """Answers what the value plane asks of a `ttnn.Tensor`, without holding its buffer."""

    buffer: Buffer
    form: Form
    chips: list[Chip]
    mesh: ttnn.MeshDevice
    memory_layout: ttnn.MemoryConfig

    @classmethod
    def of(cls, tensor: ttnn.Tensor, buffers: dict[int, Buffer]) -> TensorHandle:
        """The handle of an allocated device tensor; `buffers` holds those met before, by their number."""
        number = tensor.buffer_unique_id()
        buffer = buffers.setdefault(number, Buffer(number, place_of(tensor)))
        chips = chips_of(tensor)
        return cls(buffer, Form.of(tensor), chips, tensor.device(), tensor.memory_config())

    @property
    def shape(self) -> ttnn.Shape:
        return self.form.shape

    @property
    def padded_shape(self) -> ttnn.Shape:
        return self.form.padded_shape

    @property
    def layout(self) -> ttnn.Layout:
        return self.form.layout

    @property
    def tile(self) -> ttnn.Tile:
        return self.form.tile

    @property
    def dtype(self) -> ttnn.DataType:
        return self.form.dtype

    def get_tile(self) -> ttnn.Tile:
        return self.form.tile

    def is_allocated(self) -> bool:
        return True

    def buffer_unique_id(self) -> int:
        return self.buffer.number

    def buffer_address(self) -> int:
        return self.buffer.place[2]

    def device(self) -> ttnn.MeshDevice:
        return self.mesh

    def device_coords(self) -> list[Chip]:
        return self.chips

    def memory_config(self) -> ttnn.MemoryConfig:
        return self.memory_layout

    def logical_volume(self) -> int:
        return math.prod(tuple(self.shape))

    def storage_type(self) -> ttnn.StorageType:
        import ttnn

        return ttnn.StorageType.DEVICE
