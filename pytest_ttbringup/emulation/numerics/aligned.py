"""Products with FP32 destinations between bit by bit and ordinary: the alignment of products inside a group of eight.

Shape legend: M rows, K inner size, N columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.mantissas import ACTIVATION_BITS
from pytest_ttbringup.emulation.numerics.matrix_unit import (
    LARGEST,
    batch_of,
    collapsed,
    finite,
    in_threads,
    power,
    tame,
)

if TYPE_CHECKING:
    import torch


_A_FEW = 64
"""Values that are looked at first."""


def alignment_shows(activations: torch.Tensor, phases: int) -> bool:
    """Whether a large product's alignment is modelled: in HiFi2 with activations of seven bits, as block formats have.

    What products lose to their group's unit, 2 ** -10 of its largest, makes a result off by some 3e-4 of itself: one
    BF16 value in eight is another. Where LoFi or HiFi2 drop bits of the activations, the error is 4e-3 or more and
    hides it. In HiFi3 and HiFi4 it shows as well, but three or four phases would cost several ordinary products.
    """
    import numpy as np

    if phases != 2:
        return False
    bits = activations.contiguous().numpy().reshape(-1).view(np.int32)
    dropped = (1 << (24 - ACTIVATION_BITS)) - 1
    return not any((part & dropped).any() for part in (bits[:_A_FEW], bits))  # the first most often has some


def aligned(activations: torch.Tensor, weights: torch.Tensor, phases: int) -> torch.Tensor:
    """Activations [..., M, K] times weights [..., K, N] with FP32 destinations, near to bit by bit at a small part of
    its cost: `compiled.fp32_step` says what is left out. Where an operand is not finite, or above 2 ** 50, `collapsed`.
    """
    import torch

    if tame(activations):
        result, largest = _of_each(activations, weights, phases)
        if largest < LARGEST:  # of weights known only now, since looking takes time
            return result
    rows, columns = finite(activations, dim=-1), finite(weights, dim=-2)
    rest = torch.where(rows, activations, 0.0), torch.where(columns, weights, 0.0)
    result, _ = _of_each(*rest, phases)
    return torch.where(rows & columns, result, collapsed(activations, weights, phases))


def _of_each(activations: torch.Tensor, weights: torch.Tensor, phases: int) -> tuple[torch.Tensor, float]:
    """The products, and a power of two that the largest weight reaches."""
    import torch

    rows, inner, columns = *activations.shape[-2:], weights.shape[-1]
    batch = batch_of(activations, weights)
    if weights.shape[:-2].numel() == 1:
        result, largest = _aligned(activations.reshape(-1, inner), weights.reshape(inner, columns), phases)
        return result.reshape(*batch, rows, columns), power(largest)
    groups = (it.expand(*batch, *it.shape[-2:]).reshape(-1, *it.shape[-2:]) for it in (activations, weights))
    results = [_aligned(a, b, phases) for a, b in zip(*groups, strict=True)]
    stacked = torch.stack([result for result, _ in results])
    return stacked.reshape(*batch, rows, columns), power(max(largest for _, largest in results))


def _aligned(activations: torch.Tensor, weights: torch.Tensor, phases: int) -> tuple[torch.Tensor, int]:
    """[M, K] times [K, N], and the weights' largest exponent as the compiled loops count it."""
    import numpy as np
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import aligned
    from pytest_ttbringup.emulation.numerics.compiled.fp32_step import ROWS
    from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH

    (rows, inner), columns = activations.shape, weights.shape[1]
    missing = -inner % 16
    weights = torch.nn.functional.pad(weights, (0, 0, 0, missing)) if missing else weights
    filled = (inner + missing) // 16, rows + -rows % ROWS, 16
    parts = np.zeros(filled, np.float32), np.zeros(filled, np.float32), np.zeros(filled, np.uint8)
    aligned.prepare(activations.contiguous().numpy(), *parts)
    result = torch.empty(rows, columns)
    arrays = *parts, weights.contiguous().numpy(), result.numpy()

    def panels(start: int, stop: int) -> int:
        return aligned.multiply(*arrays, phases, start * WIDTH, min(stop * WIDTH, columns))  # type: ignore[no-any-return]

    return result, in_threads(panels, -(-columns // WIDTH), activations.numel() * columns)
