"""What a prefill reads: a stretch of one user's prompt, padded to what the operations need, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .layouts import FOLDED_ROWS, replicated


@dataclass(frozen=True, eq=False)
class PrefillChunk:
    """Tokens of one user at positions `start` to `start` + `length` - 1, and rows of padding behind them.

    Padding rows come after the tokens, so that causal attention hides them from every token.

    Attributes:
        user: whose tokens, 0 to 31.
        start: position of the first, a multiple of 32.
        length: how many tokens.
        tokens: uint32 [1, S], row-major; padding is token 0.
        positions: uint32 [1, S], row-major, those of the padding included.
    """

    user: int
    start: int
    length: int
    tokens: ttnn.Tensor
    positions: ttnn.Tensor

    @classmethod
    def of(
        cls, mesh_device: ttnn.MeshDevice, config: ModelConfig, tokens: Sequence[int], *, user: int, start: int = 0
    ) -> PrefillChunk:
        """Move tokens to the device.

        Raises:
            BringupError: there is no such user, no token, no room for them, or `start` is not the start of a tile.
        """
        if not 0 <= user < DECODE_BATCH:
            raise BringupError(f"There is no user {user} to prefill; users are 0 to {DECODE_BATCH - 1}.")
        if not tokens:
            raise BringupError(f"The prompt of user {user} has no token; it needs at least one to start from.")
        if start < 0 or start % TILE_SIZE:
            raise BringupError(
                f"A prefill starts at position {start}; K and V are written in tiles, so it must be a multiple of "
                f"{TILE_SIZE}."
            )
        if start + len(tokens) > config.max_seq_len:
            raise BringupError(
                f"The prompt of user {user} needs {start + len(tokens)} positions; the KV cache holds max_seq_len = "
                f"{config.max_seq_len}. Shorten the prompt."
            )
        rows = padded_rows(len(tokens), config.max_seq_len - start)

        def on_device(values: torch.Tensor) -> ttnn.Tensor:
            return ttnn.from_torch(
                values.to(torch.int32)[None],
                dtype=ttnn.uint32,
                layout=ttnn.ROW_MAJOR_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=replicated(mesh_device),
            )

        padded = torch.zeros(rows, dtype=torch.long)
        padded[: len(tokens)] = torch.tensor(list(tokens))
        return cls(
            user=user,
            start=start,
            length=len(tokens),
            tokens=on_device(padded),
            positions=on_device(torch.arange(start, start + rows)),
        )

    @property
    def rows(self) -> int:
        """S: tokens and padding."""
        return int(self.tokens.shape[-1])

    @property
    def filled_rows(self) -> int:
        """Rows that are written to the KV cache: up to the end of the last token's tile.

        Decode overwrites those behind the last token before it attends to them.
        """
        return _round_up(self.length, TILE_SIZE)

    @property
    def last_tile(self) -> int:
        """The row where the tile of the last token starts."""
        return self.filled_rows - TILE_SIZE

    @property
    def last_row_in_tile(self) -> int:
        """The last token's row within its tile."""
        return (self.length - 1) % TILE_SIZE

    def free(self) -> None:
        """Give the device memory back."""
        ttnn.deallocate(self.tokens)
        ttnn.deallocate(self.positions)


def chunks_of(
    mesh_device: ttnn.MeshDevice, config: ModelConfig, prompt: Sequence[int], *, user: int, longest: int
) -> Iterator[PrefillChunk]:
    """A prompt in chunks of at most `longest` tokens, each moved to the device when it is asked for.

    Raises:
        BringupError: `longest` is no positive multiple of 32, or what `PrefillChunk.of` raises, before the first chunk.
    """
    if longest < TILE_SIZE or longest % TILE_SIZE:
        raise BringupError(f"A prefill chunk of {longest} tokens must be a positive multiple of {TILE_SIZE}, a tile.")
    if len(prompt) > config.max_seq_len:
        raise BringupError(
            f"The prompt of user {user} needs {len(prompt)} positions; the KV cache holds max_seq_len = "
            f"{config.max_seq_len}. Shorten the prompt."
        )
    for start in range(0, max(len(prompt), 1), longest):
        yield PrefillChunk.of(mesh_device, config, prompt[start : start + longest], user=user, start=start)


def padded_rows(length: int, room: int) -> int:
    """Rows for so many tokens, at most `room`, a multiple of 32 that they fit into.

    Powers of two from 32 up to 1024, then multiples of 1024, so that prompts of all lengths share few programs.
    """
    rows = max(TILE_SIZE, 1 << (length - 1).bit_length()) if length <= FOLDED_ROWS else _round_up(length, FOLDED_ROWS)
    return min(rows, room)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
