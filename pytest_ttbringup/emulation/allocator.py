"""What TT-NN's allocator has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.values import Place


def allocated(mesh: ttnn.MeshDevice) -> dict[Place, int]:
    """All buffers in TT-NN's allocator, by place, with their bytes in each bank."""
    import ttnn

    device = mesh.id()
    found = ttnn._ttnn.reports.get_buffers([mesh])
    return {(device, buffer.buffer_type.value, buffer.address): buffer.max_size_per_bank for buffer in found}
