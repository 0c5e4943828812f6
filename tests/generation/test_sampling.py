"""Which tokens can be drawn, how often, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.generation import sampling
from pytest_ttbringup.generation.sampling import SamplingConfig, draw, filtered, sampling_of_each

VOCABULARY = 40
TEMPERATURES = st.floats(0.05, 5)
SEEDS = st.integers(0, 2**16)


def logits_of(seed: int) -> torch.Tensor:
    """Logits [V] of which no two are alike."""
    order = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(seed))
    return order * 0.25


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """Pearson's statistic of counts against probabilities that are not 0."""
    likely = expected > 0
    expected_counts = expected[likely] * counts.sum()
    return float(((counts[likely] - expected_counts) ** 2 / expected_counts).sum())


@given(seed=SEEDS, temperature=TEMPERATURES, k=st.integers(1, VOCABULARY))
def test_top_k_keeps_the_k_likeliest(seed: int, temperature: float, k: int) -> None:
    logits = logits_of(seed)
    kept = filtered(logits, SamplingConfig(temperature, top_k=k)) > 0
    assert set(kept.nonzero().flatten().tolist()) == set(logits.topk(k).indices.tolist())


@given(seed=SEEDS, temperature=TEMPERATURES, p=st.floats(0.01, 0.999))
def test_top_p_keeps_the_fewest_that_reach_p(seed: int, temperature: float, p: float) -> None:
    logits = logits_of(seed)
    whole, ordered = filtered(logits, SamplingConfig(temperature)).sort(descending=True)
    kept = filtered(logits, SamplingConfig(temperature, top_p=p)) > 0
    count = int(kept.sum())
    assert bool(kept[ordered[:count]].all())
    assert float(whole[:count].sum()) >= p - 1e-12
    assert float(whole[: count - 1].sum()) < p + 1e-12


@given(seed=SEEDS, temperature=TEMPERATURES, k=st.integers(1, VOCABULARY), p=st.floats(0.01, 0.999))
def test_top_p_is_of_what_top_k_keeps(seed: int, temperature: float, k: int, p: float) -> None:
    logits = logits_of(seed)
    first = filtered(logits, SamplingConfig(temperature, top_k=k))
    again = filtered(first.log() * temperature, SamplingConfig(temperature, top_p=p))
    torch.testing.assert_close(filtered(logits, SamplingConfig(temperature, top_k=k, top_p=p)), again)


@given(seed=SEEDS, temperature=TEMPERATURES, k=st.integers(1, VOCABULARY), p=st.floats(0.01, 1))
def test_those_kept_keep_their_proportions(seed: int, temperature: float, k: int, p: float) -> None:
    logits = logits_of(seed)
    probabilities = filtered(logits, SamplingConfig(temperature, top_k=k, top_p=p))
    assert float(probabilities.sum()) == pytest.approx(1)
    kept = probabilities > 0
    torch.testing.assert_close(probabilities[kept], torch.softmax(logits.double()[kept] / temperature, -1))


@given(seed=SEEDS, uniform=st.floats(0, 1, exclude_max=True))
def test_towards_temperature_0_it_is_greedy(seed: int, uniform: float) -> None:
    logits = logits_of(seed)
    assert draw(logits, SamplingConfig(sampling.LOWEST_TEMPERATURE), uniform) == int(logits.argmax())


@given(seed=SEEDS, uniform=st.floats(0, 1, exclude_max=True), k=st.integers(1, VOCABULARY), p=st.floats(0.01, 1))
def test_only_what_is_kept_is_drawn(seed: int, uniform: float, k: int, p: float) -> None:
    config = SamplingConfig(1.0, top_k=k, top_p=p)
    logits = logits_of(seed)
    assert filtered(logits, config)[draw(logits, config, uniform)] > 0


@pytest.mark.parametrize(
    "config",
    [SamplingConfig(1.5), SamplingConfig(2.0, top_k=5), SamplingConfig(3.0, top_p=0.7), SamplingConfig(2.0, 9, 0.8)],
    ids=["all", "top-k", "top-p", "both"],
)
def test_draws_are_spread_as_the_probabilities(config: SamplingConfig) -> None:
    logits = logits_of(1)
    check_spread(lambda uniform: draw(logits, config, uniform), filtered(logits, config))


def check_spread(draw_one: Callable[[float], int], probabilities: torch.Tensor, draws: int = 2000) -> None:
    """Draws from a uniform sequence, against probabilities: at most 5 standard deviations of chi-square away."""
    uniforms = torch.rand(draws, generator=torch.Generator().manual_seed(3)).tolist()
    counts = torch.bincount(torch.tensor([draw_one(it) for it in uniforms]), minlength=len(probabilities))
    assert not counts[probabilities == 0].any(), "a token was drawn that had been left out"
    degrees = int((probabilities > 0).sum()) - 1
    assert chi_square(counts, probabilities) <= degrees + 5 * (2 * degrees) ** 0.5


def test_a_sampler_that_ignores_top_p_is_found_out() -> None:
    logits, config = logits_of(1), SamplingConfig(3.0, top_p=0.7)
    with pytest.raises(AssertionError, match="had been left out"):
        check_spread(lambda uniform: draw(logits, replace(config, top_p=1), uniform), filtered(logits, config))


def test_a_sampler_with_another_temperature_is_found_out() -> None:
    logits, config = logits_of(1), SamplingConfig(3.0, top_k=9)
    with pytest.raises(AssertionError, match="<="):
        check_spread(lambda uniform: draw(logits, replace(config, temperature=2.0), uniform), filtered(logits, config))


def test_greedy_unless_asked() -> None:
    assert SamplingConfig().greedy
    assert not SamplingConfig(0.7).greedy


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": -1}, r"temperature = -1 must be 0 \(greedy\), or 0.01 to 100"),
        ({"temperature": 0.001}, r"temperature = 0.001 must be 0"),
        ({"temperature": float("nan")}, r"temperature = nan must be 0"),
        ({"temperature": float("inf")}, r"temperature = inf must be 0"),
        ({"temperature": "hot"}, r"temperature = 'hot' must be 0"),
        ({"temperature": True}, r"temperature = True must be 0"),
        ({"temperature": 1, "top_k": True}, r"top_k = True must be a whole number"),
        ({"temperature": 1, "seed": True}, r"seed = True must be a whole number"),
        ({"temperature": 1, "top_k": 0}, r"top_k = 0 must be a whole number of tokens, at least 1"),
        ({"temperature": 1, "top_k": 2.5}, r"top_k = 2.5 must be a whole number"),
        ({"temperature": 1, "top_p": 0}, r"top_p = 0 must be a probability above 0 and at most 1"),
        ({"temperature": 1, "top_p": 1.1}, r"top_p = 1.1 must be a probability"),
        ({"temperature": 1, "seed": -1}, r"seed = -1 must be a whole number from 0 to 4294967295"),
        ({"temperature": 1, "seed": 2**32}, r"seed = 4294967296 must be"),
        ({"top_p": 0.9}, r"top_p = 0.9: no effect at temperature 0, which is greedy. Give a temperature"),
        ({"top_k": 5, "seed": 1}, r"top_k = 5 and seed = 1: no effect at temperature 0"),
    ],
    ids=str,
)
def test_what_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(BringupError, match=message):
        SamplingConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("users", [1, 32])
def test_one_for_all_or_one_each(users: int) -> None:
    one = SamplingConfig(0.5)
    each: Sequence[SamplingConfig] = [SamplingConfig(1 + user) for user in range(users)]
    assert sampling_of_each(one, users) == [one] * users
    assert sampling_of_each(each, users) == each
    with pytest.raises(BringupError, match=f"{users} sampling configurations given for {users + 1} users"):
        sampling_of_each(each, users + 1)
