"""Token accuracy, KL divergence and perplexity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_ttbringup.comparison import TokenAccuracy, token_accuracy
from pytest_ttbringup.errors import BringupError

POSITIONS, VOCABULARY = 50, 100


@pytest.fixture
def reference(random):
    return 3 * random.standard_normal((POSITIONS, VOCABULARY))


@pytest.fixture
def tokens(random):
    return random.integers(0, VOCABULARY, POSITIONS)


def test_equal_logits_are_perfect(reference, tokens):
    found = token_accuracy(reference, reference.copy(), tokens)
    assert (found.top1, found.top5, found.positions, found.misses) == (1, 1, POSITIONS, ())
    assert found.kl == pytest.approx(0, abs=1e-12)
    assert found.perplexity == found.reference_perplexity


@pytest.mark.usefixtures("small_blocks")
def test_agrees_with_torch(random, reference, tokens):
    logits = reference + random.standard_normal(reference.shape)
    found = token_accuracy(torch.from_numpy(logits), torch.from_numpy(reference), torch.from_numpy(tokens))
    q, p = (torch.from_numpy(x).log_softmax(-1) for x in (logits, reference))
    target = torch.from_numpy(tokens)
    assert found.kl == pytest.approx(torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean").item())
    assert found.perplexity == pytest.approx(torch.nn.functional.nll_loss(q, target).exp().item())
    assert found.reference_perplexity == pytest.approx(torch.nn.functional.nll_loss(p, target).exp().item())
    choice = q.argmax(-1, keepdim=True)
    assert found.top1 == pytest.approx((choice == p.argmax(-1, keepdim=True)).double().mean().item())
    assert found.top5 == pytest.approx((choice == p.topk(5).indices).any(-1).double().mean().item())
    assert 0 < found.top1 < found.top5 <= 1


def test_top5_is_the_reference_top5(reference, tokens):
    """TT-NN's argmax made the reference's n-th token: within the top 5 up to n = 5, not from the sixth on."""
    order = np.argsort(-reference, axis=1)
    for place, inside in ((1, True), (4, True), (5, False)):
        logits = reference.copy()
        np.put_along_axis(logits, order[:, place : place + 1], 100, axis=1)
        found = token_accuracy(logits, reference, tokens)
        assert (found.top1, found.top5) == (0, float(inside))
        assert found.misses == tuple(range(POSITIONS))


def test_misses_name_the_positions(reference, tokens):
    logits = reference.copy()
    logits[[3, 17]] *= -1
    found = token_accuracy(logits, reference, tokens)
    assert found.misses == (3, 17)
    assert found.top1 == 1 - 2 / POSITIONS


def test_logits_of_the_previous_position_are_found_out(reference, tokens):
    found = token_accuracy(np.roll(reference, 1, axis=0), reference, tokens)
    assert found.top1 < 0.2
    assert found.kl > 1


def test_equal_logits_within_a_position_rank_by_token(reference, tokens):
    """A model that answers nothing must not score: all logits equal chooses token 0."""
    found = token_accuracy(np.zeros_like(reference), reference, tokens)
    assert found.top1 == pytest.approx((reference.argmax(1) == 0).mean())
    constant = token_accuracy(reference, np.zeros_like(reference), tokens)
    assert constant.top5 == pytest.approx((reference.argmax(1) < 5).mean())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_logits_are_misses(reference, tokens, bad):
    logits = reference.copy()
    logits[5, reference[5].argmax()] = bad
    found = token_accuracy(logits, reference, tokens)
    assert found.misses == (5,)
    assert found.top5 == 1 - 1 / POSITIONS
    assert math.isnan(found.kl)
    assert math.isnan(found.perplexity)
    assert found.record()["kl"] is None


def test_masked_tokens(reference, tokens):
    masked = reference.copy()
    masked[:, 7] = -math.inf
    found = token_accuracy(masked, masked, np.where(tokens == 7, 8, tokens))
    assert found.kl == pytest.approx(0, abs=1e-12)
    assert token_accuracy(masked, reference, tokens).kl == math.inf


@given(st.integers(0, 2**32), st.floats(-50, 50))
def test_invariant_to_an_offset_and_never_negative(seed, offset):
    random = np.random.default_rng(seed)
    logits, reference = random.standard_normal((2, 4, 10))
    tokens = random.integers(0, 10, 4)
    found, moved = (token_accuracy(x, reference, tokens) for x in (logits, logits + offset))
    assert found.kl >= 0
    assert found.top1 <= found.top5
    assert (found.kl, found.perplexity) == pytest.approx((moved.kl, moved.perplexity))


@pytest.mark.usefixtures("small_blocks")
def test_users_and_positions(random):
    logits = random.standard_normal((3, 7, 20))
    tokens = random.integers(0, 20, (3, 7))
    found = token_accuracy(logits, logits, tokens)
    assert (found.positions, found.top1) == (21, 1)


def test_record(reference, tokens):
    record = token_accuracy(reference, reference, tokens).record()
    assert record["kind"] == "tokens"
    assert (record["top1"], record["top5"], record["positions"], record["misses"]) == (1, 1, POSITIONS, [])
    assert TokenAccuracy(1, 1, math.inf, 1, 1, 1).record()["kl"] is None


def test_bad_input(reference, tokens):
    nan = reference.copy()
    nan[0, 0] = math.nan
    for arguments, message in (
        ((reference[:, :-1], reference, tokens), "one shape"),
        ((reference, reference, tokens[:-1]), "one shape"),
        ((reference[0], reference[0], tokens[0]), "one shape"),
        ((reference[:0], reference[:0], tokens[:0]), "at least one position"),
        ((reference[:, :5], reference[:, :5], tokens % 5), "at least 6 tokens"),
        ((reference, reference, tokens * 1.0), "integers"),
        ((reference, reference, tokens + 100), r"0\.\.99"),
        ((reference, reference, tokens - 100), r"0\.\.99"),
        ((reference, nan, tokens), "reference itself is broken"),
    ):
        with pytest.raises(BringupError, match=message):
            token_accuracy(*arguments)
