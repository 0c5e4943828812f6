"""Where a paged KV cache keeps the positions of its users."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig


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
        device_rows = ttnn.from_torch(
            rows.to(torch.int32),
            dtype=ttnn.int32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            device=mesh_device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            mesh_mapper=config.parallelism.to_mesh(mesh_device, data=0),
        )
        return cls(rows=rows, block_size=block_size, device_rows=device_rows)

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
        if start % self.block_size:
            raise BringupError(
                f"A prefill from position {start} does not start with a block of {self.block_size} positions. "
                "Make the length of a prefill chunk a multiple of the page block size."
            )
        return ttnn.slice(self.device_rows, (user, start // self.block_size), (user + 1, -(-stop // self.block_size)))
