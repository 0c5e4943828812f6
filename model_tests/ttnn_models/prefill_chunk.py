"""What a prefill reads: a stretch of a prompt on each instance, padded to what the operations need, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .layouts import FOLDED_ROWS


@dataclass(frozen=True, eq=False)
class PrefillChunk:
    """Tokens of one user of each instance at positions from `start` on, and rows of padding behind them.

    Padding rows come after the tokens, so that causal attention hides them from every token. All instances have as
    many rows as the longest needs. What else differs between them, the device looks up in tensors that each chip holds
    of its own, so that one program serves them all.

    Attributes:
        user: whose tokens, 0 to 31: the same row of each instance's batch.
        start: position of the first, a multiple of 32.
        lengths: how many tokens each instance has; one with none takes no part: its cache stays as it is.
        tokens: uint32 [1, S], row-major; padding is token 0.
        positions: uint32 [1, S], row-major, those of the padding included.
        last_rows: uint32 [1, 32], row-major: the row of the last token, 32 times.
        slots: int32 [1], row-major: `user`, or 32 on a chip whose instance takes no part.
    """

    user: int
    start: int
    lengths: tuple[int, ...]
    tokens: ttnn.Tensor
    positions: ttnn.Tensor
    last_rows: ttnn.Tensor
    slots: ttnn.Tensor

    @classmethod
    def of(
        cls,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        prompts: Sequence[Sequence[int]],
        *,
        user: int,
        start: int = 0,
    ) -> PrefillChunk:
        """Move tokens to the device.

        Args:
            mesh_device: where.
            config: sizes.
            prompts: of each instance; empty for one that has none.
            user: see above.
            start: see above.

        Raises:
            BringupError: there is no such user, no token, no room for them, `start` is not the start of a tile, or
                there is not one prompt for each instance.
        """
        instances = config.parallelism.data
        if len(prompts) != instances:
            raise BringupError(f"{len(prompts)} prompts for {instances} instances; a prefill reads one of each.")
        if not 0 <= user < DECODE_BATCH:
            raise BringupError(f"There is no user {user} to prefill; users are 0 to {DECODE_BATCH - 1}.")
        if not any(prompts):
            raise BringupError(f"The prompt of user {user} has no token; it needs at least one to start from.")
        if start < 0 or start % TILE_SIZE:
            raise BringupError(
                f"A prefill starts at position {start}; K and V are written in tiles, so it must be a multiple of "
                f"{TILE_SIZE}."
            )
        _check_room(config, prompts, user, start)
        lengths = tuple(map(len, prompts))
        rows = padded_rows(max(lengths), config.max_seq_len - start)

        def on_device(values: torch.Tensor, dtype: ttnn.DataType, data: int | None = 0) -> ttnn.Tensor:
            return ttnn.from_torch(
                values.to(torch.int32),
                dtype=dtype,
                layout=ttnn.ROW_MAJOR_LAYOUT,
                device=mesh_device,
                memory_config=ttnn.DRAM_MEMORY_CONFIG,
                mesh_mapper=config.parallelism.to_mesh(mesh_device, data=data),
            )

        padded = torch.zeros(instances, rows, dtype=torch.long)
        for row, prompt in zip(padded, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(list(prompt))
        last = torch.tensor(lengths).sub(1).clamp(min=0)
        slots = torch.tensor([user if length else DECODE_BATCH for length in lengths])
        return cls(
            user=user,
            start=start,
            lengths=lengths,
            tokens=on_device(padded, ttnn.uint32),
            positions=on_device(torch.arange(start, start + rows)[None], ttnn.uint32, data=None),
            last_rows=on_device(last[:, None].expand(-1, TILE_SIZE), ttnn.uint32),
            slots=on_device(slots, ttnn.int32),
        )

    @property
    def rows(self) -> int:
        """S: tokens and padding."""
        return int(self.tokens.shape[-1])

    @property
    def filled_rows(self) -> int:
        """Rows that are written to the KV cache: up to the end of the last token's tile, of the instance with most.

        Decode overwrites those behind a user's last token before it attends to them.
        """
        return _round_up(max(self.lengths), TILE_SIZE)

    def free(self) -> None:
        """Give the device memory back."""
        for tensor in (self.tokens, self.positions, self.last_rows, self.slots):
            ttnn.deallocate(tensor)


def chunks_of(
    mesh_device: ttnn.MeshDevice, config: ModelConfig, prompts: Sequence[Sequence[int]], *, user: int, longest: int
) -> Iterator[PrefillChunk]:
    """A prompt of each instance in chunks of at most `longest` tokens, each moved to the device when it is asked for.

    An instance whose prompt has ended, or that has none, takes no part in the chunks that follow.

    Raises:
        BringupError: `longest` is no positive multiple of 32, or what `PrefillChunk.of` raises, before the first chunk.
    """
    if longest < TILE_SIZE or longest % TILE_SIZE:
        raise BringupError(f"A prefill chunk of {longest} tokens must be a positive multiple of {TILE_SIZE}, a tile.")
    _check_room(config, prompts, user)
    for start in range(0, max(1, *map(len, prompts)), longest):
        cut = [prompt[start : start + longest] for prompt in prompts]
        yield PrefillChunk.of(mesh_device, config, cut, user=user, start=start)


def _check_room(config: ModelConfig, prompts: Sequence[Sequence[int]], user: int, start: int = 0) -> None:
    for instance, prompt in enumerate(prompts):
        if start + len(prompt) > config.max_seq_len:
            raise BringupError(
                f"The prompt of user {instance * DECODE_BATCH + user} needs {start + len(prompt)} positions; the KV "
                f"cache holds max_seq_len = {config.max_seq_len}. Shorten the prompt."
            )


def padded_rows(length: int, room: int) -> int:
    """Rows for so many tokens, at most `room`, a multiple of 32 that they fit into.

    Powers of two from 32 up to 1024, then multiples of 1024, so that prompts of all lengths share few programs.
    """
    rows = max(TILE_SIZE, 1 << (length - 1).bit_length()) if length <= FOLDED_ROWS else _round_up(length, FOLDED_ROWS)
    return min(rows, room)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
