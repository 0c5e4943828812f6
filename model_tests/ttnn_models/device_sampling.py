"""Tokens drawn on the device, within a decode step: each user's own temperature, top-k, top-p and seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import ttnn

from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig

from .config import DECODE_BATCH, TILE_SIZE
from .parallelism import SINGLE, Parallelism

MOST_TOP_K = 32
"""That `ttnn.sampling` can draw from."""
WIDEST, NARROWEST = 32768, 8192
"""A vocabulary is searched in pieces whose size is a power of two between these: `ttnn.topk` uses many cores then."""


def drawn_on_device(sampling: SamplingConfig) -> bool:
    """Whether the device can draw as asked; the host does what it can't: more than 32 tokens to choose from."""
    return not sampling.greedy and sampling.top_k is not None and sampling.top_k <= MOST_TOP_K


def width_of_piece(vocab_size: int) -> int:
    """The size of the pieces in which a vocabulary is searched: the least padding first, then the fewest pieces."""
    if vocab_size <= NARROWEST:
        return max(2 * TILE_SIZE, 1 << (vocab_size - 1).bit_length())
    return min((WIDEST, WIDEST // 2, NARROWEST), key=lambda width: -vocab_size % width)


class DeviceSampler:
    """Draws tokens for the users who want it, and leaves the greedy choice to the others.

    Temperature and top-p are BF16 here, so good to 0.4 %. The draw depends on a user's logits, configuration and seed
    alone: a seed sets the random numbers of the user's core right before the draw, as TT-NN's own LLM code does.

    Shapes: B = 32 users of an instance, V vocabulary, P pieces of it. Buffers, all row-major: `k` uint32 [B], `p` and
    `inverse_temperature` bfloat16 [B], `seeds` and `users` uint32 [B], `drawn` uint32 [1, 1, 1, B]; in tiles `draws`
    uint32 [1, 1, 1, B], 1 for users whose token is drawn, and `offsets` int32 [1, 1, B, 32 P].

    Args:
        mesh_device: where it runs.
        vocab_size: V.
        parallelism: how many instances there are; each has users of its own.
    """

    def __init__(self, mesh_device: ttnn.MeshDevice, vocab_size: int, parallelism: Parallelism = SINGLE) -> None:
        self.mesh_device = mesh_device
        self.parallelism = parallelism
        self.rows = DECODE_BATCH * parallelism.data
        self.vocab_size = vocab_size
        self.width = width_of_piece(vocab_size)
        self.pieces = -(-vocab_size // self.width)
        starts = torch.arange(self.pieces, dtype=torch.int32) * self.width
        self.offsets = self._buffer(
            starts.repeat_interleave(MOST_TOP_K).repeat(parallelism.data, 1, DECODE_BATCH, 1),
            ttnn.int32,
            ttnn.TILE_LAYOUT,
        )
        rows = torch.arange(DECODE_BATCH, dtype=torch.int32).repeat(parallelism.data)
        self.users = self._buffer(rows, ttnn.uint32)
        self.seeds = self._buffer(rows, ttnn.uint32)
        self.drawn = self._buffer(rows.reshape(-1, 1, 1, DECODE_BATCH), ttnn.uint32)
        self.k = self._buffer(torch.ones_like(rows), ttnn.uint32)
        self.p = self._buffer(torch.ones(self.rows), ttnn.bfloat16)
        self.inverse_temperature = self._buffer(torch.ones(self.rows), ttnn.bfloat16)
        self.draws = self._buffer(torch.zeros_like(rows).reshape(-1, 1, 1, DECODE_BATCH), ttnn.uint32, ttnn.TILE_LAYOUT)

    def write_users(self, users: Sequence[SamplingConfig]) -> None:
        """Set how each row's token is chosen; those the device can't draw, and rows not named, get the greedy one."""
        rows = [it if drawn_on_device(it) else GREEDY for it in users]
        rows += [GREEDY] * (self.rows - len(rows))
        self._write(torch.tensor([it.top_k or 1 for it in rows], dtype=torch.int32), self.k)
        self._write(torch.tensor([it.top_p for it in rows]), self.p)
        self._write(torch.tensor([1 / (it.temperature or 1) for it in rows]), self.inverse_temperature)
        draws = torch.tensor([int(not it.greedy) for it in rows], dtype=torch.int32)
        self._write(draws.reshape(-1, 1, 1, DECODE_BATCH), self.draws)

    def write_seeds(self, seeds: Sequence[int]) -> None:
        """Set the seed of each row's next draw, 0 to 2**31 - 1; rows not named get 0."""
        values = [*seeds, *[0] * (self.rows - len(seeds))]
        self._write(torch.tensor(values, dtype=torch.int32), self.seeds)

    def choose(self, logits: ttnn.Tensor, tokens: ttnn.Tensor) -> None:
        """Draw from logits [1, 1, B, V] and put what was drawn into the greedy `tokens`, uint32 [1, 1, B] row-major."""
        values, indices = self._candidates(logits)
        ttnn.manual_seed(self.seeds, user_ids=self.users)  # nothing may compute on these cores between this and:
        ttnn.sampling(
            values, indices, k=self.k, p=self.p, temp=self.inverse_temperature, output_tensor=self.drawn
        )  # [1, 1, 1, B]
        greedy = ttnn.to_layout(ttnn.reshape(tokens, (1, 1, 1, DECODE_BATCH)), ttnn.TILE_LAYOUT)
        chosen = ttnn.where(self.draws, ttnn.to_layout(self.drawn, ttnn.TILE_LAYOUT), greedy)  # [1, 1, 1, B]
        rows = ttnn.reshape(ttnn.to_layout(chosen, ttnn.ROW_MAJOR_LAYOUT), tuple(tokens.shape))
        ttnn.copy(rows, tokens)

    def _candidates(self, logits: ttnn.Tensor) -> tuple[ttnn.Tensor, ttnn.Tensor]:
        """The 32 greatest logits of each piece, bfloat16 [1, 1, B, N] in tiles, and their tokens, int32 row-major.

        N is 32 P, padded to a power of two, as `ttnn.sampling` wants it.
        """
        values, indices = [], []
        for piece in self._pieces(logits):
            greatest, places = ttnn.topk(piece, MOST_TOP_K, dim=3, stable=True)  # [1, 1, B, 32]
            values.append(ttnn.typecast(greatest, ttnn.bfloat16) if greatest.dtype != ttnn.bfloat16 else greatest)
            indices.append(ttnn.typecast(places, ttnn.int32))
        if self.pieces == 1:
            return values[0], ttnn.to_layout(indices[0], ttnn.ROW_MAJOR_LAYOUT)
        found = ttnn.concat(values, dim=3)  # [1, 1, B, 32 P]
        tokens = ttnn.add(ttnn.concat(indices, dim=3), self.offsets)
        lacking = (1 << (self.pieces - 1).bit_length()) - self.pieces
        if lacking:
            padding = ((0, 0), (0, 0), (0, 0), (0, lacking * MOST_TOP_K))
            found, tokens = ttnn.pad(found, padding, float("-inf")), ttnn.pad(tokens, padding, 0)
        return found, ttnn.to_layout(tokens, ttnn.ROW_MAJOR_LAYOUT)

    def _pieces(self, logits: ttnn.Tensor) -> list[ttnn.Tensor]:
        """[1, 1, B, V] → P times [1, 1, B, W]; what the last one lacks is minus infinity."""
        pieces = []
        for first in range(0, self.vocab_size, self.width):
            end = min(first + self.width, self.vocab_size)
            piece = logits
            if self.pieces > 1:
                piece = ttnn.slice(logits, (0, 0, 0, first), (1, 1, DECODE_BATCH, end))
            if end - first < self.width:
                piece = ttnn.pad(piece, ((0, 0), (0, 0), (0, 0), (0, self.width - (end - first))), float("-inf"))
            pieces.append(piece)
        return pieces

    def _buffer(
        self, values: torch.Tensor, dtype: ttnn.DataType, layout: ttnn.Layout = ttnn.ROW_MAJOR_LAYOUT
    ) -> ttnn.Tensor:
        host = self._host(values, dtype, layout)
        return ttnn.to_device(host, self.mesh_device, memory_config=ttnn.DRAM_MEMORY_CONFIG)

    def _write(self, values: torch.Tensor, buffer: ttnn.Tensor) -> None:
        ttnn.copy_host_to_device_tensor(self._host(values, buffer.dtype, buffer.layout), buffer)

    def _host(self, values: torch.Tensor, dtype: ttnn.DataType, layout: ttnn.Layout) -> ttnn.Tensor:
        mapper = self.parallelism.to_mesh(self.mesh_device, data=0)
        return ttnn.from_torch(values, dtype=dtype, layout=layout, mesh_mapper=mapper)
