"""Which attention heads each chip computes when several share them.

TT-NN's attention gives each KV head of a chip the same number of query heads, in order. So a chip has *slots*: each
holds one KV head and `per_slot` query heads of it. Where KV heads are fewer than slots a head fills several, on one
chip or on more, with its query heads dealt out among them; what is left over is filled with zeros, which change
nothing: the output projection has rows of zeros for their part. Llama-3.1-8B (32 and 8 heads) on 8 chips has a slot of
4 query heads each; SmolLM2-135M (9 and 3) on 4 chips has 3 query heads each, those of the last chip zeros; on 2 chips
two slots of 3.

Shapes: H heads, K KV heads, h head size, D hidden, C chips, k slots of a chip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pytest_ttbringup.errors import BringupError


@dataclass(frozen=True)
class HeadSplit:
    """The slots of all chips, in order.

    Attributes:
        chips: how many share the heads.
        per_slot: query heads of a slot.
        kv_heads: of each slot of all chips, the KV head it holds; None for one of zeros.
        query_heads: of each slot, its `per_slot` query heads; None for one of zeros.
    """

    chips: int
    per_slot: int
    kv_heads: tuple[int | None, ...]
    query_heads: tuple[tuple[int | None, ...], ...]

    @classmethod
    def of(cls, num_heads: int, num_kv_heads: int, chips: int, *, pad: bool = True) -> HeadSplit:
        """The split with the fewest query heads on a chip, and of those the one with the fewest KV heads.

        Raises:
            BringupError: heads would have to be padded, and `pad` is off.
        """
        group = num_heads // num_kv_heads
        candidates = [
            (slots * per_slot, slots, per_slot)
            for slots in range(1, num_kv_heads + 1)
            for per_slot in range(1, group + 1)
            if num_kv_heads * math.ceil(group / per_slot) <= chips * slots
        ]
        _, slots, per_slot = min(candidates)
        kv_heads: list[int | None] = []
        query_heads: list[tuple[int | None, ...]] = []
        for kv_head in range(num_kv_heads):
            queries: list[int | None] = list(range(kv_head * group, (kv_head + 1) * group))
            for start in range(0, group, per_slot):
                part = queries[start : start + per_slot]
                kv_heads.append(kv_head)
                query_heads.append((*part, *[None] * (per_slot - len(part))))
        empty = chips * slots - len(kv_heads)
        split = cls(
            chips=chips,
            per_slot=per_slot,
            kv_heads=(*kv_heads, *[None] * empty),
            query_heads=(*query_heads, *[(None,) * per_slot] * empty),
        )
        if split.padded and not pad:
            raise BringupError(
                f"Tensor parallel on {chips} chips: {num_heads} heads with {num_kv_heads} KV heads can't be dealt out "
                f"evenly, and padding is off. Allow it (pad_heads=True: {split.heads} query heads on each chip, "
                f"{chips * split.heads - num_heads} of all zeros), or use "
                f"{_listed(_even(num_heads, num_kv_heads))} chips."
            )
        return split

    @property
    def slots(self) -> int:
        """k: KV heads of a chip."""
        return len(self.kv_heads) // self.chips

    @property
    def heads(self) -> int:
        """Query heads of a chip."""
        return self.slots * self.per_slot

    @property
    def padded(self) -> bool:
        """Whether some heads are zeros."""
        return any(head is None for slot in self.query_heads for head in slot)

    def fused(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, head_dim: int) -> torch.Tensor:
        """Projections [Hh, D], [Kh, D], [Kh, D] → [C (k·per_slot + 2k)h, D]: each chip's queries, keys and values."""
        parts = (
            _rows(query, self._by_chip([head for slot in self.query_heads for head in slot]), head_dim),
            _rows(key, self._by_chip(self.kv_heads), head_dim),
            _rows(value, self._by_chip(self.kv_heads), head_dim),
        )  # each [C, heads · h, D]
        return torch.cat(parts, dim=1).flatten(0, 1)

    def output(self, weight: torch.Tensor, head_dim: int) -> torch.Tensor:
        """Output projection [D, Hh] → [D, C k·per_slot h], with columns of zeros for heads of zeros."""
        rows = _rows(weight.T, self._by_chip([head for slot in self.query_heads for head in slot]), head_dim)
        return rows.flatten(0, 1).T

    def to_slots(self, heads: torch.Tensor) -> torch.Tensor:
        """Keys or values [B, K, S, h] → [B, C k, S, h]."""
        picked = heads[:, [head or 0 for head in self.kv_heads]]
        for slot, head in enumerate(self.kv_heads):
            if head is None:
                picked[:, slot] = 0
        return picked

    def from_slots(self, slots: torch.Tensor) -> torch.Tensor:
        """Keys or values [B, C k, S, h] → [B, K, S, h].

        Raises:
            AssertionError: slots that hold one KV head differ; the message names the chip.
        """
        places: dict[int, int] = {}
        for slot, head in enumerate(self.kv_heads):
            if head is None:
                continue
            first = places.setdefault(head, slot)
            if not torch.equal(slots[:, slot], slots[:, first]):
                raise AssertionError(
                    f"KV head {head} is on chips {first // self.slots} and {slot // self.slots} of the tensor "
                    f"parallel group, but chip {slot // self.slots} holds other values"
                )
        return slots[:, list(places.values())]

    def _by_chip(self, heads: Sequence[int | None]) -> list[list[int | None]]:
        each = len(heads) // self.chips
        return [list(heads[chip * each : (chip + 1) * each]) for chip in range(self.chips)]


def _rows(weight: torch.Tensor, chips: list[list[int | None]], head_dim: int) -> torch.Tensor:
    """[heads · h, D] → [C, heads of a chip · h, D]."""
    heads = weight.unflatten(0, (-1, head_dim))
    zeros = torch.zeros_like(heads[0])
    return torch.stack([torch.cat([zeros if it is None else heads[it] for it in chip]) for chip in chips])


def _even(num_heads: int, num_kv_heads: int) -> list[int]:
    return [chips for chips in range(1, num_heads + 1) if not HeadSplit.of(num_heads, num_kv_heads, chips).padded]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + (" or " if len(numbers) > 1 else "") + str(numbers[-1])
