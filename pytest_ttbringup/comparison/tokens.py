"""Token accuracy: how well a model predicts when it is fed the reference tokens (teacher forcing)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pytest_ttbringup.comparison import operands
from pytest_ttbringup.comparison.operands import Float64, Operand, as_operand
from pytest_ttbringup.comparison.result import finite_or_none
from pytest_ttbringup.errors import BringupError


@dataclass(frozen=True)
class TokenAccuracy:
    """Agreement of TT-NN logits with the reference's over a text, position by position.

    top1: share of positions at which TT-NN's argmax equals the reference's argmax.
    top5: share of positions at which TT-NN's argmax lies within the reference's top 5.
    kl: KL divergence of TT-NN's distribution from the reference's, KL(reference || TT-NN), in nats, mean over
    positions. perplexity, reference_perplexity: exp of the mean negative log probability that TT-NN, and the reference,
    give to the reference tokens.
    positions: number of positions. misses: the positions at which the two argmax differ.

    At equal logits the lower token id ranks first, for both models. A position whose TT-NN logits hold NaN or +inf is a
    miss for top1 and top5 and makes kl and perplexity nan.
    """

    top1: float
    top5: float
    kl: float
    perplexity: float
    reference_perplexity: float
    positions: int
    misses: tuple[int, ...] = ()

    def record(self) -> dict[str, object]:
        """Return the figures as plain types for record_property; None stands for a figure that is nan or inf."""
        return {
            "kind": "tokens",
            "top1": self.top1,
            "top5": self.top5,
            "kl": finite_or_none(self.kl),
            "perplexity": finite_or_none(self.perplexity),
            "reference_perplexity": finite_or_none(self.reference_perplexity),
            "positions": self.positions,
            "misses": list(self.misses),
        }


def token_accuracy(logits: object, reference_logits: object, reference_tokens: object) -> TokenAccuracy:
    """Compare logits with the reference's, both obtained by feeding the reference tokens.

    logits, reference_logits: [..., positions, vocabulary], of one shape (cut the padding of the vocabulary first).
    reference_tokens: [..., positions] integers; the token that follows each position in the reference text.

    Raises BringupError for other shapes, no positions, a vocabulary of fewer than 6 tokens (top 5 would hold nearly
    every token), token ids outside the vocabulary, or reference logits with NaN or +inf.
    """
    actual, reference, tokens = as_operand(logits), as_operand(reference_logits), as_operand(reference_tokens)
    _check(actual, reference, tokens)
    vocabulary = actual.shape[-1]
    actual = actual.view(actual.data.reshape(-1, vocabulary))
    reference = reference.view(reference.data.reshape(-1, vocabulary))
    targets = tokens.data.reshape(-1).astype(np.int64)
    positions = targets.size
    ranks = np.empty(positions, dtype=np.int64)
    sums = np.zeros(3)
    rows = max(1, operands.BLOCK // vocabulary)
    for start in range(0, positions, rows):
        part = slice(start, start + rows)
        x, y = actual.float64((part,)), reference.float64((part,))
        ranks[part] = _reference_rank(x, y)
        p, q = _log_softmax(y), _log_softmax(x)
        line = np.arange(len(x))
        sums += (_kl(p, q), -q[line, targets[part]].sum(), -p[line, targets[part]].sum())
    kl, loss, reference_loss = (sums / positions).tolist()
    return TokenAccuracy(
        top1=float((ranks == 0).mean()),
        top5=float((ranks < 5).mean()),
        kl=kl,
        perplexity=_exp(loss),
        reference_perplexity=_exp(reference_loss),
        positions=positions,
        misses=tuple(np.flatnonzero(ranks != 0).tolist()),
    )


def _check(logits: Operand, reference: Operand, tokens: Operand) -> None:
    if logits.shape != reference.shape or len(logits.shape) < 2 or tokens.shape != logits.shape[:-1]:
        raise BringupError(
            f"Token accuracy needs logits and reference logits [..., positions, vocabulary] of one shape and tokens "
            f"[..., positions]; got {list(logits.shape)}, {list(reference.shape)} and {list(tokens.shape)}."
        )
    if tokens.size == 0:
        raise BringupError("Token accuracy needs at least one position; got none.")
    vocabulary = logits.shape[-1]
    if vocabulary < 6:
        raise BringupError(f"Token accuracy needs a vocabulary of at least 6 tokens; got {vocabulary}.")
    if tokens.kind != "integer":
        raise BringupError(f"Reference tokens must be integers; got {tokens.dtype}.")
    least, greatest = int(tokens.data.min()), int(tokens.data.max())
    if least < 0 or greatest >= vocabulary:
        raise BringupError(f"Reference tokens must lie in 0..{vocabulary - 1}; got {least}..{greatest}.")
    values = reference.native()
    if np.isnan(values).any() or np.isposinf(values).any():
        raise BringupError("The reference logits hold NaN or +inf: the reference itself is broken.")


def _reference_rank(logits: Float64, reference: Float64) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many tokens the reference ranks above TT-NN's argmax, per row; all if TT-NN has NaN or +inf."""
    broken = np.isnan(logits).any(axis=1) | np.isposinf(logits).any(axis=1)
    choice = logits.argmax(axis=1)
    value = np.take_along_axis(reference, choice[:, None], axis=1)
    tie_above = (reference == value) & (np.arange(reference.shape[1]) < choice[:, None])
    rank: np.ndarray[tuple[int], np.dtype[np.int64]] = (reference > value).sum(axis=1) + tie_above.sum(axis=1)
    rank[broken] = reference.shape[1]
    return rank


def _log_softmax(logits: Float64) -> Float64:
    with np.errstate(invalid="ignore"):
        shifted: Float64 = logits - logits.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _kl(p: Float64, q: Float64) -> float:
    """Sum KL(p || q) over rows of log probabilities. A token of probability 0 under p (-inf) adds nothing."""
    with np.errstate(invalid="ignore"):
        terms = np.exp(p) * (p - q)
    terms[np.isneginf(p) & ~np.isnan(q)] = 0.0
    return float(terms.sum())


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
