"""Choosing the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.random import generator

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call
    from pytest_ttbringup.emulation.values import Chip

_seeds: dict[Chip, dict[int | None, int]] = {}
"""Seeds that `ttnn.manual_seed` left on each chip for the next sampling, by user; None for all users."""


_NO_SEED = 2**32 - 1
"""The seed that leaves a generator as it is (TT-NN's test_manual_seed.py)."""


@semantics("ttnn.manual_seed", by_chip=True)
def manual_seed(
    call: Call, seeds: torch.Tensor | int = 0, *, user_ids: torch.Tensor | int | None = None, **_: Any
) -> torch.Tensor:
    """Note the seeds for the next `ttnn.sampling`; what TT-NN returns holds nothing."""
    import torch

    numbers = seeds.reshape(-1).tolist() if isinstance(seeds, torch.Tensor) else [seeds]
    users = user_ids.reshape(-1).tolist() if isinstance(user_ids, torch.Tensor) else [user_ids]
    numbers = numbers * len(users) if len(numbers) == 1 else numbers
    left = _seeds.setdefault(call.chip, {})
    if user_ids is None and numbers != [_NO_SEED]:
        left.clear()  # all users start anew
    left.update((user, seed) for user, seed in zip(users, numbers, strict=True) if seed != _NO_SEED)
    return torch.zeros(tuple(call.output.shape))


@semantics("ttnn.sampling", by_chip=True)
def sampling(
    call: Call,
    input_values_tensor: torch.Tensor,
    input_indices_tensor: torch.Tensor,
    k: torch.Tensor,
    p: torch.Tensor,
    temp: torch.Tensor,
    *,
    seed: int | None = None,
    **_: Any,
) -> torch.Tensor:
    """Draw one index per user: values and indices [1, 1, U, N]; k, p and temp [U] -> [1, 1, 1, U].

    Per user the values are multiplied by `temp` (models pass 1 / temperature), the k largest stay, of these the most
    probable ones until their probabilities sum to p (the one that reaches it included), and one is drawn from those.
    NaN gives the first.
    """
    import torch

    users = input_values_tensor.shape[-2]
    logits = input_values_tensor.reshape(users, -1) * temp.reshape(-1)[:users, None]
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    beyond_k = torch.arange(ordered.shape[-1]) >= k.reshape(-1).long()[:users, None]
    weights = torch.softmax(ordered.masked_fill(beyond_k, float("-inf")), dim=-1)
    before = weights.cumsum(-1) - weights
    weights = weights.masked_fill((before >= p.reshape(-1)[:users, None]) & (before > 0), 0.0)
    undefined = weights.isnan().any(-1)  # of users who take no part; as the kernel, whose sums then pass no number
    weights[undefined] = torch.nn.functional.one_hot(torch.tensor(0), weights.shape[-1]).to(weights.dtype)
    left = _seeds.setdefault(call.chip, {})
    drawn = torch.cat([_draw(weights[user], user, seed, left) for user in range(users)])
    chosen = order[torch.arange(users), drawn]
    return input_indices_tensor.reshape(users, -1)[torch.arange(users), chosen].reshape(tuple(call.output.shape))


def _draw(weights: torch.Tensor, user: int, seed: int | None, left: dict[int | None, int]) -> torch.Tensor:
    """Draw by the operation's seed, or by what `manual_seed` has left on the chip."""
    import torch

    if seed is None and user in left:
        own = left.pop(user)
        # As on the device, where a core's random numbers follow from the seed it was given, whichever core it is.
        return torch.multinomial(weights, 1, generator=generator(own * 64 + 64))
    noted = seed
    if noted is None:
        noted = left.get(None)
        if noted is not None:
            left[None] = noted + 1  # the generator has advanced by the next draw
    return torch.multinomial(weights, 1, generator=None if noted is None else generator(noted * 64 + user + 1))


@semantics("ttnn.experimental.topk_large_indices", refuses=("valid_length_tensor", "valid_end_tensor"))
def topk_large_indices(
    call: Call, input_tensor: torch.Tensor, *, k: int, valid_length: int | None = None, **_: Any
) -> torch.Tensor:
    """Indices of the k largest along the last dimension, of the first `valid_length` if given."""
    return input_tensor[..., :valid_length].topk(k, dim=-1).indices.reshape(tuple(call.output.shape))


@semantics("ttnn.where")
def where(call: Call, predicate: torch.Tensor, true_value: Any, false_value: Any, *_: Any, **keywords: Any) -> Any:
    """PyTorch's where, with any predicate but zero as true.

    TT-NN's golden function gives the branches the dtype of an unsigned predicate.
    """
    import torch
    import ttnn

    if predicate.dtype in (torch.uint8, torch.uint16, torch.uint32):
        predicate = (predicate.long() != 0).float()
    return golden_values(ttnn.where, call, predicate, true_value, false_value, **keywords)
