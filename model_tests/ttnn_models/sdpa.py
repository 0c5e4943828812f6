"""How attention is spread over the cores and cut into chunks of positions."""

from __future__ import annotations

import math

import ttnn

from .config import ModelConfig
from .layouts import USER_COLUMNS, USER_ROWS

LONGEST_CHUNK = 128
"""Most positions that attention takes at a time."""


def sdpa_program_config(mesh_device: ttnn.MeshDevice, config: ModelConfig) -> ttnn.SDPAProgramConfig:
    """Decode attention on one or two cores per user.

    Two are taken only where they share the KV heads evenly: TT-NN deals out cores per user, then heads per core, and
    that comes out even only if one divides the other.
    """
    two_fit = mesh_device.compute_with_storage_grid_size().y >= 2 * USER_ROWS
    kv_heads = config.head_split.slots
    two_share = kv_heads == 1 or kv_heads % 2 == 0
    rows = 2 * USER_ROWS if two_fit and two_share else USER_ROWS
    return _program_config(ttnn.CoreCoord(USER_COLUMNS, rows), config.max_seq_len)


def sdpa_prefill_program_config(mesh_device: ttnn.MeshDevice, *, rows: int, start: int = 0) -> ttnn.SDPAProgramConfig:
    """Prefill attention of so many rows from position `start`, on all cores: it deals out heads and chunks of queries.

    TT-NN wants `start` to be a multiple of the chunk.
    """
    return _program_config(mesh_device.compute_with_storage_grid_size(), math.gcd(rows, start))


def _program_config(grid: ttnn.CoreCoord, positions: int) -> ttnn.SDPAProgramConfig:
    chunk = min(positions & -positions, LONGEST_CHUNK)  # the largest power of two that divides the positions
    return ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=grid, q_chunk_size=chunk, k_chunk_size=chunk, exp_approx_mode=False
    )
