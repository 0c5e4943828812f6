"""One layer's keys and values of the positions so far: contiguous or paged, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .layouts import USER_COLUMNS, USER_ROWS, replicated
from .precision import DEFAULT_PRECISION, PrecisionConfig

LONGEST_CHUNK = 128
"""Most positions that attention takes at a time."""


class KVCache(Protocol):
    """What attention needs of a cache.

    Keys are kept as the attention module makes them: rotated, in interleaved order (see `rope`).

    Shapes: B users, H heads, K KV heads, S positions, h head size. `positions` is int32 [B], row-major, on the device;
    a user at position -1 is left out: nothing is written, and its attention is undefined.
    """

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        """Write key and value, each [1, B, K, h] with one user per core, at each user's position."""

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        """Attention of query [1, B, H, h], one user per core, to all positions up to the user's own → [1, B, H, h]."""

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values on the host, each [B, K, S, h]."""

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace all keys and values by those on the host, each [B, K, S, h]: a past that was computed elsewhere.

        Raises:
            BringupError: they have another shape.
        """


class ContiguousKVCache:
    """A `KVCache` with room for S positions of every user: keys and values are [B, K, S, h].

    Args:
        mesh_device: where it lies.
        config: sizes.
        precision: format of the cache and math of attention.
    """

    def __init__(
        self, mesh_device: ttnn.MeshDevice, config: ModelConfig, *, precision: PrecisionConfig = DEFAULT_PRECISION
    ) -> None:
        self.shape = _user_shape(config)
        self.keys = _zeros(self.shape, mesh_device, precision)
        self.values = _zeros(self.shape, mesh_device, precision)
        self.program_config = sdpa_program_config(mesh_device, config)
        self.kernel_config = precision.sdpa_decode_math.kernel_config(mesh_device)

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        ttnn.experimental.paged_update_cache(self.keys, key, update_idxs_tensor=positions)
        ttnn.experimental.paged_update_cache(self.values, value, update_idxs_tensor=positions)

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        return ttnn.transformer.scaled_dot_product_attention_decode(
            query,
            self.keys,
            self.values,
            cur_pos_tensor=positions,
            scale=scale,
            program_config=self.program_config,
            compute_kernel_config=self.kernel_config,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        )

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _read(self.keys), _read(self.values)

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        _check_shapes(self.shape, keys, values)
        _write(keys, self.keys)
        _write(values, self.values)


@dataclass(frozen=True)
class PageTable:
    """Which block holds which positions of a user; one for all layers.

    Args:
        rows: int32 [B, blocks per user] on the host: `rows[b, i]` is the block of user b's positions from i·block_size.
        block_size: positions in a block, a multiple of 32.
        device_rows: the same on the device, row-major.
    """

    rows: torch.Tensor
    block_size: int
    device_rows: ttnn.Tensor

    @classmethod
    def from_rows(
        cls, mesh_device: ttnn.MeshDevice, config: ModelConfig, rows: torch.Tensor, *, block_size: int = TILE_SIZE
    ) -> PageTable:
        """Move a table to the device.

        Raises:
            BringupError: the block size is no multiple of a tile, the table does not cover every position of every
                user, or a block is used twice or does not exist.
        """
        if block_size % TILE_SIZE or config.max_seq_len % block_size:
            raise BringupError(
                f"Page block size {block_size} must be a multiple of {TILE_SIZE} that divides max_seq_len = "
                f"{config.max_seq_len}."
            )
        shape = (DECODE_BATCH, config.max_seq_len // block_size)
        if tuple(rows.shape) != shape:
            raise BringupError(f"The page table has shape {list(rows.shape)}; these sizes need {list(shape)}.")
        if not torch.equal(rows.flatten().sort().values, torch.arange(rows.numel(), dtype=rows.dtype)):
            raise BringupError(f"The page table must name each of the blocks 0 to {rows.numel() - 1} once.")
        device_rows = ttnn.from_torch(
            rows.to(torch.int32),
            dtype=ttnn.int32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            device=mesh_device,
            mesh_mapper=replicated(mesh_device),
        )
        return cls(rows=rows, block_size=block_size, device_rows=device_rows)


class PagedKVCache:
    """A `KVCache` in blocks: keys and values are [blocks, K, block size, h], found by a page table.

    Args:
        mesh_device: where it lies.
        config: sizes.
        page_table: where each user's positions are.
        precision: format of the cache and math of attention.
    """

    def __init__(
        self,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        *,
        page_table: PageTable,
        precision: PrecisionConfig = DEFAULT_PRECISION,
    ) -> None:
        self.shape = _user_shape(config)
        self.page_table = page_table
        blocks = (page_table.rows.numel(), config.num_kv_heads, page_table.block_size, config.head_dim)
        self.keys = _zeros(blocks, mesh_device, precision)
        self.values = _zeros(blocks, mesh_device, precision)
        self.program_config = sdpa_program_config(mesh_device, config)
        self.kernel_config = precision.sdpa_decode_math.kernel_config(mesh_device)

    def update(self, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        table = self.page_table.device_rows
        ttnn.experimental.paged_update_cache(self.keys, key, update_idxs_tensor=positions, page_table=table)
        ttnn.experimental.paged_update_cache(self.values, value, update_idxs_tensor=positions, page_table=table)

    def attend(self, query: ttnn.Tensor, positions: ttnn.Tensor, *, scale: float) -> ttnn.Tensor:
        return ttnn.transformer.paged_scaled_dot_product_attention_decode(
            query,
            self.keys,
            self.values,
            cur_pos_tensor=positions,
            page_table_tensor=self.page_table.device_rows,
            scale=scale,
            program_config=self.program_config,
            compute_kernel_config=self.kernel_config,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        )

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._gather(_read(self.keys)), self._gather(_read(self.values))

    def load_torch(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        _check_shapes(self.shape, keys, values)
        _write(self._scatter(keys), self.keys)
        _write(self._scatter(values), self.values)

    def _scatter(self, users: torch.Tensor) -> torch.Tensor:
        blocks = users.unflatten(2, (-1, self.page_table.block_size))  # [B, K, blocks per user, block size, h]
        in_users_order: torch.Tensor = blocks.transpose(1, 2).flatten(0, 1)  # [blocks, K, block size, h]
        return in_users_order[self.page_table.rows.flatten().argsort()]

    def _gather(self, blocks: torch.Tensor) -> torch.Tensor:
        users = blocks[self.page_table.rows.long()]  # [B, blocks per user, K, block size, h]
        return users.transpose(1, 2).flatten(2, 3)  # [B, K, S, h]


def sdpa_program_config(mesh_device: ttnn.MeshDevice, config: ModelConfig) -> ttnn.SDPAProgramConfig:
    """Decode attention on one or two cores per user.

    Two are taken only where they share the KV heads evenly: TT-NN deals out cores per user, then heads per core, and
    that comes out even only if one divides the other.
    """
    two_fit = mesh_device.compute_with_storage_grid_size().y >= 2 * USER_ROWS
    two_share = config.num_kv_heads == 1 or config.num_kv_heads % 2 == 0
    rows = 2 * USER_ROWS if two_fit and two_share else USER_ROWS
    positions = config.max_seq_len
    chunk = min(positions & -positions, LONGEST_CHUNK)  # the largest power of two that divides the positions
    return ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=ttnn.CoreCoord(USER_COLUMNS, rows),
        q_chunk_size=chunk,
        k_chunk_size=chunk,
        exp_approx_mode=False,
    )


def _user_shape(config: ModelConfig) -> tuple[int, int, int, int]:
    return DECODE_BATCH, config.num_kv_heads, config.max_seq_len, config.head_dim


def _check_shapes(expected: tuple[int, ...], *tensors: torch.Tensor) -> None:
    for tensor in tensors:
        if tuple(tensor.shape) != expected:
            raise BringupError(f"Keys and values must have shape {list(expected)}; {list(tensor.shape)} given.")


def _zeros(shape: tuple[int, ...], mesh_device: ttnn.MeshDevice, precision: PrecisionConfig) -> ttnn.Tensor:
    return ttnn.zeros(
        shape,
        dtype=precision.kv_cache,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )


def _read(tensor: ttnn.Tensor) -> torch.Tensor:
    values: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(tensor)[0])
    return values


def _write(values: torch.Tensor, tensor: ttnn.Tensor) -> None:
    mapper = replicated(tensor.device())
    host = ttnn.from_torch(values, dtype=tensor.dtype, layout=tensor.layout, mesh_mapper=mapper)
    ttnn.copy_host_to_device_tensor(host, tensor)
