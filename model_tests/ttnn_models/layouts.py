"""Where the tensors of a decode step lie on the cores."""

from __future__ import annotations

import ttnn

from .config import DECODE_BATCH, TILE_SIZE

USER_COLUMNS = 8
USER_ROWS = DECODE_BATCH // USER_COLUMNS


def user_cores() -> ttnn.CoreRangeSet:
    """8x4 cores, one for each user, row by row; every Tenstorrent device has them.

    `scaled_dot_product_attention_decode` looks for user b's queries on core (b % columns, b // columns) of its own
    grid, so all that is kept per user lies on cores as many columns wide as the grid given to that operation.
    """
    return ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(USER_COLUMNS - 1, USER_ROWS - 1))})


def user_sharded(width: int) -> ttnn.MemoryConfig:
    """[1, B, 1..32, width] in L1, one user's tile row on each core."""
    return ttnn.create_sharded_memory_config(
        (TILE_SIZE, width),
        core_grid=user_cores(),
        strategy=ttnn.ShardStrategy.HEIGHT,
        orientation=ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )


def replicated(mesh_device: ttnn.MeshDevice) -> ttnn.TensorToMesh:
    """The mapper that puts a whole host tensor on every device of the mesh."""
    return ttnn.ReplicateTensorToMesh(mesh_device)
