"""Which elements of a sharded tensor lie on which cores, for writes of some cores' shards only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import torch
    import ttnn


def elements_on(tensor: ttnn.Tensor, cores: ttnn.CoreRangeSet) -> torch.Tensor:
    """Which elements of a device tensor lie on some cores: bool, of its logical shape.

    A tensor of padded shape [..., width] is cut into shards as the matrix [height, width] of its rows. Shards follow
    each other along the height or the width over the cores of the grid, row by row of the grid or, in column-major
    orientation, column by column; blocks lie as their place in the matrix says, or its transpose.

    Raises:
        EmulationError: it is sharded in more than two dimensions.
    """
    import torch
    import ttnn

    config = tensor.memory_config()
    spec, kind = config.shard_spec, config.memory_layout
    if spec is None:
        raise EmulationError(
            "ttnn.copy_host_to_device_tensor_partial is emulated for tensors with a shard_spec (height, width or block "
            f"sharding), and this one has {config}. Copy the whole tensor with ttnn.copy_host_to_device_tensor."
        )
    padded = tuple(tensor.padded_shape)
    height, width = math.prod(padded[:-1]), padded[-1]
    rows, columns = spec.shape
    down, across = math.ceil(height / rows), math.ceil(width / columns)
    by_rows = spec.orientation == ttnn.ShardOrientation.ROW_MAJOR
    if kind == ttnn.TensorMemoryLayout.BLOCK_SHARDED:
        start = spec.grid.bounding_box().start
        places = {
            (start.x + (column if by_rows else row), start.y + (row if by_rows else column)): (row, column)
            for row in range(down)
            for column in range(across)
        }
    else:
        grid = [(core.x, core.y) for core in ttnn.corerange_to_cores(spec.grid, None, by_rows)]
        places = dict(zip(grid, [(row, column) for row in range(down) for column in range(across)], strict=False))
    chosen = {(core.x, core.y) for core in ttnn.corerange_to_cores(cores, None, True)}
    mask = torch.zeros(height, width, dtype=torch.bool)
    for core, (row, column) in places.items():
        if core in chosen:
            mask[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] = True
    return mask.reshape(padded)[tuple(slice(0, size) for size in tuple(tensor.shape))]
