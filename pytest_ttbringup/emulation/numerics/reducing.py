"""Sums along a dimension, as reductions and norms take them on the matrix unit."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.mantissas import leading_bits, to_tf32
from pytest_ttbringup.emulation.numerics.matrix_unit import LARGEST, accumulate

if TYPE_CHECKING:
    import torch


def row_sums(x: torch.Tensor, config: KernelConfig, *, scaler: float = 1.0) -> torch.Tensor:
    """[..., K] -> [..., 1]: sums of the last dimension, times a scaler that is cut to BF16.

    Where a value is not finite, or above 2 ** 50, its row's sum is the plain one. Source: LLK `reduce_tile`; the
    simulator's bits say that the scaler is cut and not rounded.
    """
    import numpy as np
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import reducing

    factor = _scaler(scaler)
    rows = x.contiguous().numpy().reshape(-1, x.shape[-1])
    out = np.empty(rows.shape[0], np.float32)
    largest = reducing.sum_rows(rows, factor, out, config.phases, config.fp32)
    sums = torch.from_numpy(out)
    if not largest < LARGEST:
        plain = to_tf32(x).reshape(-1, x.shape[-1])
        sums = torch.where(plain.abs().amax(dim=1) < LARGEST, sums, plain.sum(dim=1) * factor)
    return sums.reshape(*x.shape[:-1], 1)


def column_sums(x: torch.Tensor, config: KernelConfig, *, scaler: float = 1.0) -> torch.Tensor:
    """[..., K, N] -> [..., 1, N]: sums of the second to last dimension; there the values are in SrcA."""
    import torch

    scaler = _scaler(scaler)
    inner, columns = x.shape[-2:]
    row, zeros = torch.full((1, inner), scaler), torch.zeros(1, columns)
    sums = [
        accumulate(row, it, zeros, phases=config.phases, fp32=config.fp32, exact=True)
        for it in to_tf32(x).reshape(-1, inner, columns)
    ]
    return torch.stack(sums).reshape(*x.shape[:-2], 1, columns)


@cache
def _scaler(value: float) -> float:
    """As the kernel holds it, in BF16."""
    import torch

    return cut_to_bf16(torch.tensor(value)).item()


def cut_to_bf16(x: torch.Tensor) -> torch.Tensor:
    """FP32 stored as BF16 by a kernel of the vector unit that does not round first, or by the host for a scaler."""
    return leading_bits(x, 8)
