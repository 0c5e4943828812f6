"""What the prefill rungs feed both sides: one user's rows, and a KV cache that holds something else already.

Shapes: S rows, D hidden, B users, K KV heads, P positions, h head size.
"""

from __future__ import annotations

import pytest
import torch
import ttnn
from decode_inputs import read_history, shuffled_page_table
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.kv_cache import KVCache
from ttnn_models.paged_kv_cache import PagedKVCache
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import DEFAULT_PRECISION, PrecisionConfig
from ttnn_models.prefill_chunk import PrefillChunk

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel

USER = 5
"""Whose cache is filled: neither the first nor the last of a batch."""

LENGTHS = (
    pytest.param(128, id="128"),
    pytest.param(512, id="512"),
    pytest.param(7, id="7"),
    pytest.param(333, id="333"),
)
"""Tokens of a prefill: multiples of 128 and no multiples of 32."""

LONG = pytest.param(2048, id="long", marks=pytest.mark.slow)
"""2048 tokens, or the model's whole context if that is shorter."""

ROWS = (None, None, "position", "dim")


def prefill_config(model: BringupModel, tokens: int, parallelism: Parallelism) -> ModelConfig:
    """The model's sizes, with room for so many tokens and for a tile more, if its context has that."""
    positions = min(-(-tokens // 32) * 32 + 32, _context(model))
    return ModelConfig.from_hf(model.config, max_seq_len=positions, parallelism=parallelism)


def tokens_of(model: BringupModel, tokens: int) -> int:
    """So many tokens, or the model's whole context."""
    return min(tokens, _context(model))


def _context(model: BringupModel) -> int:
    return int(model.config.max_position_embeddings)


def chunk_of(
    mesh_device: ttnn.MeshDevice, config: ModelConfig, tokens: int, *, user: int = USER, start: int = 0
) -> PrefillChunk:
    """A chunk for a module that sees no tokens but only their activations."""
    return PrefillChunk.of(mesh_device, config, [0] * tokens, user=user, start=start)


def padded(x: torch.Tensor, rows: int) -> torch.Tensor:
    """[S', D] → [1, 1, S, D]: behind the tokens come rows of padding, which hold what must not matter."""
    noise = torch.randn(rows - len(x), x.shape[1], generator=torch.Generator().manual_seed(2)) * 3 * x.std()
    return torch.cat([x, noise])[None, None]


def new_cache(
    kind: str, mesh_device: ttnn.MeshDevice, config: ModelConfig, precision: PrecisionConfig = DEFAULT_PRECISION
) -> KVCache:
    """A `contiguous` or a `paged` cache, the latter with a shuffled page table."""
    if kind == "contiguous":
        return ContiguousKVCache(mesh_device, config, precision=precision)
    page_table = shuffled_page_table(mesh_device, config)
    return PagedKVCache(mesh_device, config, page_table=page_table, precision=precision)


def used_cache(
    kind: str, mesh_device: ttnn.MeshDevice, config: ModelConfig, precision: PrecisionConfig = DEFAULT_PRECISION
) -> KVCache:
    """A cache in which every position of every user holds something."""
    cache = new_cache(kind, mesh_device, config, precision)
    generator = torch.Generator().manual_seed(3)
    shape = (config.users, config.num_kv_heads, config.max_seq_len, config.head_dim)
    cache.load_torch(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
    return cache


def compare_cache(
    compare: Compare,
    name: str,
    expected: tuple[torch.Tensor, torch.Tensor],
    before: tuple[torch.Tensor, torch.Tensor],
    kv_cache: KVCache,
    *,
    user: int = USER,
) -> None:
    """K and V [K, S, h] of a prefill at all its positions; and that no other position changed, of any user.

    Only the rest of the last token's tile may have: decode overwrites it before it looks there. In data parallel every
    instance has prefilled the same, for its own user of that number.
    """
    length = expected[0].shape[1]
    end = -(-length // 32) * 32
    for part, reference, old, new in zip(("key", "value"), expected, before, read_history(kv_cache), strict=True):
        for row in range(user, len(new), DECODE_BATCH):
            compare(reference, new[row, :, :length], name=f"{name} {part}", axes=("head", "position", "dim"))
            new[row, :, :end] = old[row, :, :end]
        changed = (new != old).any(dim=-1).nonzero().tolist()
        compare.check(f"no other {part} changes", not changed, f"changed at [user, head, position] {changed[:3]}")
