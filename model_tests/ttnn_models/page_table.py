"""Where a KV cache keeps the positions of its users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .prefill_chunk import PrefillChunk


@dataclass(frozen=True)
class PageTable:
    """Which block holds which positions of a user; one for all layers.

    Args:
        rows: int32 [B, blocks per user] on the host: `rows[b, i]` is the block of user b's positions from i·block_size,
            of the blocks of that user's chip.
        block_size: positions in a block, a multiple of 32.
        device_rows: the rows on the device, row-major.
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
        shape = (config.users, config.max_seq_len // block_size)
        if tuple(rows.shape) != shape:
            raise BringupError(f"The page table has shape {list(rows.shape)}; these sizes need {list(shape)}.")
        blocks = DECODE_BATCH * shape[1]
        for users in rows.split(DECODE_BATCH):
            if not torch.equal(users.flatten().sort().values, torch.arange(blocks, dtype=rows.dtype)):
                raise BringupError(f"The page table must name each of the blocks 0 to {blocks - 1} of a chip once.")
        return cls(rows=rows, block_size=block_size, device_rows=_on_device(mesh_device, config, rows))

    @classmethod
    def whole_users(cls, mesh_device: ttnn.MeshDevice, config: ModelConfig) -> PageTable:
        """The table of a contiguous cache [B, K, S, h] taken as a paged one: a chip's user b has one block of S
        positions, b.
        """
        rows = torch.arange(config.users)[:, None] % DECODE_BATCH
        return cls.from_rows(mesh_device, config, rows, block_size=config.max_seq_len)

    @property
    def blocks(self) -> int:
        """Blocks on a chip."""
        return DECODE_BATCH * self.rows.shape[1]

    def stretch(self, user: int, start: int, stop: int) -> ttnn.Tensor:
        """The blocks of a user's positions `start` to `stop` - 1: int32 [1, blocks], row-major, the caller's to free.

        Made anew by each call: what stays on the device after a trace was captured may be overwritten by its replays.

        Raises:
            BringupError: `start` is not the first position of a block.
        """
        first, end = _blocks(start, stop, self.block_size)
        return ttnn.slice(self.device_rows, (user, first), (user + 1, end))


@dataclass(frozen=True)
class FillTable:
    """Where a prefill's keys and values go on each chip, and nowhere on those whose instance reads nothing.

    A row for each of a chip's users, and behind them one of -1, whose tiles TT-NN's `paged_fill_cache` leaves out. A
    chip looks its row up by a number that it holds itself, so one program serves all; tiles are only copied, so what
    stays keeps every bit in every format.

    Args:
        rows: int32 [33, G, blocks] on the device, row-major: of each of the G runs of rows that are written one behind
            the other, the blocks.
        block_size: positions in a block.
    """

    rows: ttnn.Tensor
    block_size: int

    @classmethod
    def from_rows(
        cls, mesh_device: ttnn.MeshDevice, config: ModelConfig, rows: torch.Tensor, *, block_size: int = TILE_SIZE
    ) -> FillTable:
        """From the rows [B, G, blocks] of all users."""
        chips = rows.to(torch.int32).unflatten(0, (-1, DECODE_BATCH))
        nowhere = torch.full_like(chips[:, :1], -1)
        return cls(
            rows=_on_device(mesh_device, config, torch.cat([chips, nowhere], dim=1).flatten(0, 1)),
            block_size=block_size,
        )

    @classmethod
    def whole_users(cls, mesh_device: ttnn.MeshDevice, config: ModelConfig) -> FillTable:
        """Of a contiguous cache [32, K, S, h] seen as the tile rows [32 · K · S/32, 1, 32, h] it consists of."""
        shape = (DECODE_BATCH, config.head_split.slots, config.max_seq_len // TILE_SIZE)
        rows = torch.arange(math.prod(shape)).reshape(shape)
        return cls.from_rows(mesh_device, config, rows.repeat(config.parallelism.data, 1, 1))

    def fill(self, blocks: ttnn.Tensor, rows: ttnn.Tensor, chunk: PrefillChunk) -> None:
        """Write rows [1, K, S', h], the chunk's from its first on, to the blocks of each chip's user.

        Raises:
            BringupError: the chunk does not start with a block.
        """
        first, end = _blocks(chunk.start, chunk.start + chunk.filled_rows, self.block_size)
        users, runs, _ = self.rows.shape
        # Freed with their last reference, not here: of a slice of everything TT-NN makes the table itself.
        stretch = ttnn.slice(self.rows, (0, 0, first), (users, runs, end))
        table = ttnn.reshape(stretch, (users, runs * (end - first)))
        ttnn.experimental.paged_fill_cache(blocks, rows, table, batch_idx_tensor=chunk.slots)


def _blocks(start: int, stop: int, block_size: int) -> tuple[int, int]:
    """The first block of positions `start` to `stop` - 1, and the one behind their last."""
    if start % block_size:
        raise BringupError(
            f"A prefill from position {start} does not start with a block of {block_size} positions. "
            "Make the length of a prefill chunk a multiple of the page block size."
        )
    return start // block_size, -(-stop // block_size)


def _on_device(mesh_device: ttnn.MeshDevice, config: ModelConfig, rows: torch.Tensor) -> ttnn.Tensor:
    """Integers, dealt out along dimension 0 to the instances."""
    return ttnn.from_torch(
        rows.to(torch.int32),
        dtype=ttnn.int32,
        layout=ttnn.ROW_MAJOR_LAYOUT,
        device=mesh_device,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
        mesh_mapper=config.parallelism.to_mesh(mesh_device, data=0),
    )
