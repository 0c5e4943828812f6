"""Where the tensors of a decode step lie on the cores, and how the rows of a long prefill are folded."""

from __future__ import annotations

import math

import ttnn

from .config import DECODE_BATCH, TILE_SIZE

USER_COLUMNS = 8
USER_ROWS = DECODE_BATCH // USER_COLUMNS

FOLDED_ROWS = 1024
"""Most rows of a prefill that a matrix product takes at a time: more would not fit into the cores' L1."""


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


def folded(x: ttnn.Tensor) -> ttnn.Tensor:
    """[1, 1, S, D] → [1, S/R, R, D], the same buffer: a product of more than 1024 rows is done R by R, in tiles."""
    rows, width = x.shape[-2], x.shape[-1]
    if rows <= FOLDED_ROWS:
        return x
    together = math.gcd(rows, FOLDED_ROWS)
    return ttnn.reshape(x, (1, rows // together, together, width))


def unfolded(x: ttnn.Tensor) -> ttnn.Tensor:
    """[1, S/R, R, D] → [1, 1, S, D], the same buffer; undoes `folded`."""
    return x if x.shape[1] == 1 else ttnn.reshape(x, (1, 1, x.shape[1] * x.shape[2], x.shape[3]))
