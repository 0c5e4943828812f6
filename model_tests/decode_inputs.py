"""What the decode rungs feed both sides: users at different positions, and a past in the KV cache.

Shapes: B users, K KV heads, S positions, h head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import ttnn
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.decode_state import DecodeState
from ttnn_models.kv_cache import KVCache
from ttnn_models.page_table import PageTable
from ttnn_models.parallelism import SINGLE, Parallelism
from ttnn_models.rope import from_interleaved, to_interleaved

from pytest_ttbringup.reference.model import BringupModel

PLACES = ("first", "middle", "last", "mixed")
"""Where in the cache the users of a decode step stand."""


def positions_at(place: str, positions: int, users: int = DECODE_BATCH) -> torch.Tensor:
    """int64 [B]: all users at the first, middle or last of so many positions; or mixed: spread over them, unordered."""
    if place == "mixed":
        spread = torch.linspace(0, positions - 1, users).round().long()
        return spread[torch.randperm(users, generator=torch.Generator().manual_seed(0))]
    return torch.full((users,), {"first": 0, "middle": positions // 2, "last": positions - 1}[place])


def heads_by_chip(config: ModelConfig, heads: torch.Tensor) -> torch.Tensor:
    """Keys or values [B, K, h] → [C, B of a chip, K of a chip, h]: what each chip of the mesh should hold of them."""
    slots = config.head_split.to_slots(heads[:, :, None])[:, :, 0]  # [B, K of all chips of an instance, h]
    instances = slots.unflatten(0, (config.parallelism.data, -1)).unflatten(2, (config.parallelism.tensor, -1))
    chips: torch.Tensor = instances.transpose(1, 2).flatten(0, 1)
    return chips


def cached_by_chip(config: ModelConfig, cache: ttnn.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What each chip's contiguous cache of keys or values [B, K, S, h] holds at each user's position → [C, B, K, h]."""
    chips = [part.float() for parts in config.parallelism.parts(cache) for part in parts]
    instances = positions.split(DECODE_BATCH)
    own = [instances[chip // config.parallelism.tensor] for chip in range(len(chips))]
    return torch.stack([chip[torch.arange(DECODE_BATCH), :, at] for chip, at in zip(chips, own, strict=True)])


def prompts_for(model: BringupModel, users: int) -> list[str]:
    """A prompt for each user; where they are more than the prompts, every chip's 32 come in another order."""
    prompts = model.prompts()
    return [prompts[(user + user // DECODE_BATCH) % len(prompts)] for user in range(users)]


def texts_of_first_users(
    users: int, text: Sequence[int], *, prefilled: int = 0
) -> tuple[range, list[list[int]], list[int]]:
    """For `Generator.forced_logits`: the first user of every instance reads a text, those between them its first token.

    Returns:
        Who reads it, the texts, and how many tokens of each are prefilled.
    """
    readers = range(0, users, DECODE_BATCH)
    slots = range(readers[-1] + 1)
    texts = [list(text) if slot in readers else [text[0]] for slot in slots]
    return readers, texts, [prefilled if slot in readers else 0 for slot in slots]


def decode_state(
    mesh_device: ttnn.MeshDevice,
    positions: torch.Tensor,
    tokens: torch.Tensor | None = None,
    *,
    parallelism: Parallelism = SINGLE,
) -> DecodeState:
    """Users at these positions [B], with these tokens [B] if any, on the device."""
    state = DecodeState(mesh_device, parallelism)
    state.write_positions(positions.tolist())
    if tokens is not None:
        state.write_tokens(tokens.tolist())
    return state


def shuffled_page_table(mesh_device: ttnn.MeshDevice, config: ModelConfig) -> PageTable:
    """A page table in which no user's blocks lie in order."""
    pages = config.max_seq_len // ttnn.TILE_SIZE
    generator = torch.Generator().manual_seed(1)
    chips = [torch.randperm(DECODE_BATCH * pages, generator=generator) for _ in range(config.parallelism.data)]
    return PageTable.from_rows(mesh_device, config, torch.cat(chips).to(torch.int32).reshape(config.users, pages))


def write_history(kv_cache: KVCache, keys: torch.Tensor, values: torch.Tensor, positions: int) -> None:
    """Fill a cache of so many positions with a past as the reference keeps it: [B, K, S', h], keys in half order."""
    room = (0, 0, 0, positions - keys.shape[2])
    kv_cache.load_torch(torch.nn.functional.pad(to_interleaved(keys), room), torch.nn.functional.pad(values, room))


def read_history(kv_cache: KVCache) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, K, S, h] as the reference would keep them, float32, keys in half order."""
    keys, values = kv_cache.to_torch()
    return from_interleaved(keys.float()), values.float()
