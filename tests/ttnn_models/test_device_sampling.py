"""Tokens drawn by the device are those the host would draw as often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import ttnn
from ttnn_models.config import DECODE_BATCH
from ttnn_models.device_sampling import DeviceSampler, drawn_on_device, width_of_piece

from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig, filtered

SEEDS = 40
GREEDY_TOKEN = 3


def logits_of(vocabulary: int) -> torch.Tensor:
    """Logits [V] below 0, exact in BF16, whose greatest lie in all parts of the vocabulary: padding by 0 would win."""
    likely = torch.linspace(0, vocabulary - 1, 50).long()
    logits = torch.full((vocabulary,), -30.0)
    logits[likely[torch.randperm(50, generator=torch.Generator().manual_seed(1))]] = torch.arange(50) * 0.125 - 10
    return logits


def drawn(mesh_device: Any, logits: torch.Tensor, users: list[SamplingConfig], times: int = SEEDS) -> torch.Tensor:
    """Tokens [times, 32] for one logits [V] in every row."""
    sampler = DeviceSampler(mesh_device, len(logits))
    rows = ttnn.from_torch(logits.bfloat16().repeat(1, 1, DECODE_BATCH, 1), layout=ttnn.TILE_LAYOUT, device=mesh_device)
    sampler.write_users(users)
    tokens = []
    for number in range(times):
        chosen = ttnn.from_torch(torch.full((1, 1, DECODE_BATCH), GREEDY_TOKEN), dtype=ttnn.uint32, device=mesh_device)
        sampler.write_seeds([1 + number * DECODE_BATCH + row for row in range(DECODE_BATCH)])
        sampler.choose(rows, chosen)
        tokens.append(ttnn.to_torch(chosen).flatten().long())
    return torch.stack(tokens)


def distance(tokens: torch.Tensor, probabilities: torch.Tensor) -> float:
    """How many standard deviations chi-square is beyond what draws from these probabilities give; inf if impossible."""
    counts, possible = torch.bincount(tokens.flatten(), minlength=len(probabilities)), probabilities > 0
    if counts[~possible].any():
        return float("inf")
    expected = probabilities[possible] * counts.sum()
    degrees = int(possible.sum()) - 1
    return float(((counts[possible] - expected) ** 2 / expected).sum() - degrees) / (2 * degrees) ** 0.5


@pytest.mark.parametrize("vocabulary", [512, 9000, 20000], ids=["one piece", "two, the last padded", "three of four"])
def test_the_device_draws_as_the_host(mesh_device: Any, vocabulary: int) -> None:
    logits = logits_of(vocabulary)
    config = SamplingConfig(2.0, top_k=10, top_p=0.75)  # all exact in BF16
    tokens = drawn(mesh_device, logits, [config] * DECODE_BATCH)
    assert distance(tokens, filtered(logits, config)) < 4
    others = (SamplingConfig(2.0, top_k=10), SamplingConfig(2.0, top_k=5, top_p=0.75), SamplingConfig(1.0, 10, 0.75))
    for other in others:
        assert distance(tokens, filtered(logits, other)) > 4, f"{other} would not be told apart"


def test_each_user_has_its_own_sampling(mesh_device: Any) -> None:
    logits = logits_of(512)
    likeliest = logits.argsort(descending=True)
    users = [SamplingConfig(1.0, top_k=1), GREEDY, SamplingConfig(50.0, top_k=32), SamplingConfig(1.0)]
    tokens = drawn(mesh_device, logits, users, times=30)
    assert tokens[:, 0].unique().tolist() == [int(likeliest[0])]
    assert set(tokens[:, 2].tolist()) <= set(likeliest[:32].tolist())
    assert len(tokens[:, 2].unique()) > 15
    assert tokens[:, [1, *range(3, DECODE_BATCH)]].unique().tolist() == [GREEDY_TOKEN], "their tokens stay as they are"


def test_what_the_device_draws() -> None:
    assert drawn_on_device(SamplingConfig(1.0, top_k=32))
    assert not drawn_on_device(SamplingConfig(1.0, top_k=33))
    assert not drawn_on_device(SamplingConfig(1.0, top_p=0.5))
    assert not drawn_on_device(GREEDY)


@pytest.mark.parametrize(
    ("vocabulary", "width", "pieces"), [(512, 512, 1), (49152, 16384, 3), (128256, 32768, 4), (40, 64, 1)], ids=str
)
def test_pieces_of_a_vocabulary(mesh_device: Any, vocabulary: int, width: int, pieces: int) -> None:
    assert width_of_piece(vocabulary) == width
    assert DeviceSampler(mesh_device, vocabulary).pieces == pieces
