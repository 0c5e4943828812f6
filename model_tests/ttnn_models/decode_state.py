"""What a decode step reads and moves on: every user's token and position, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH
from .parallelism import SINGLE, Parallelism

INACTIVE = -1
"""The position of a user who takes no part."""


class DecodeState:
    """Tokens and positions of B users in buffers that stay where they are, so that a captured step finds them again.

    An inactive user's rotary position starts at 0, since the table has no row -1, and moves on with the others. It
    never overtakes an active user's, and so stays within the table.

    In data parallel each chip has 32 users of its own, and B is all of them.

    Shapes, on each chip: `tokens` uint32 [1, 32] and, on the same buffer, `tokens_out` [1, 1, 32], `positions` int32
    [32], `rotary_positions` uint32 [1, 32]; all row-major.
    """

    def __init__(self, mesh_device: ttnn.MeshDevice, parallelism: Parallelism = SINGLE) -> None:
        self.mesh_device = mesh_device
        self.parallelism = parallelism
        self.users = DECODE_BATCH * parallelism.data

        def buffer(values: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
            return ttnn.to_device(self._host(values, dtype), mesh_device, memory_config=ttnn.DRAM_MEMORY_CONFIG)

        self.tokens = buffer(torch.zeros(self.users, dtype=torch.int32), ttnn.uint32)
        self.tokens_out = ttnn.reshape(self.tokens, (1, 1, DECODE_BATCH))
        self.positions = buffer(torch.full((self.users,), INACTIVE, dtype=torch.int32), ttnn.int32)
        self.rotary_positions = buffer(torch.zeros(self.users, dtype=torch.int32), ttnn.uint32)

    def write_tokens(self, tokens: Sequence[int]) -> None:
        """Set each user's token; users not named get token 0."""
        ttnn.copy_host_to_device_tensor(self.tokens_on_host(tokens), self.tokens)

    def tokens_on_host(self, tokens: Sequence[int]) -> ttnn.Tensor:
        """A host tensor like `tokens`, to be copied to it."""
        return self._host(torch.tensor(self._padded(tokens, 0), dtype=torch.int32), ttnn.uint32)

    def write_positions(self, positions: Sequence[int]) -> None:
        """Set each user's position; users not named, or at `INACTIVE`, take no part."""
        values = torch.tensor(self._padded(positions, INACTIVE), dtype=torch.int32)
        self._write(values, ttnn.int32, self.positions)
        self._write(values.clamp(min=0), ttnn.uint32, self.rotary_positions)

    def read_tokens(self) -> list[int]:
        """Each user's token."""
        tokens = self.parallelism.take(self.tokens, data=0)
        return [int(token) for token in tokens.flatten()]

    def advance(self) -> None:
        """Move every active user on by one position, on the device."""
        ttnn.plus_one(self.positions, skip_negative_entries=True)
        ttnn.plus_one(self.rotary_positions)

    def _padded(self, values: Sequence[int], filler: int) -> list[int]:
        if len(values) > self.users:
            raise BringupError(f"A decode step has {self.users} users; {len(values)} given.")
        return [*values, *[filler] * (self.users - len(values))]

    def _host(self, values: torch.Tensor, dtype: ttnn.DataType) -> ttnn.Tensor:
        """Values [B]; integers become [1, 32] on each chip where they are tokens or rows of a table (uint32)."""
        rows = values if dtype == ttnn.int32 else values.reshape(-1, DECODE_BATCH)
        return ttnn.from_torch(
            rows,
            dtype=dtype,
            layout=ttnn.ROW_MAJOR_LAYOUT,
            mesh_mapper=self.parallelism.to_mesh(self.mesh_device, data=0),
        )

    def _write(self, values: torch.Tensor, dtype: ttnn.DataType, buffer: ttnn.Tensor) -> None:
        ttnn.copy_host_to_device_tensor(self._host(values, dtype), buffer)
