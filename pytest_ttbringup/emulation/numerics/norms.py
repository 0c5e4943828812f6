"""Norms and softmax, step by step as their kernels take them.

Sources: the wheel's `layernorm.cpp` and `softmax.cpp` and TT-NN's program factories for the formats in between: FP32
with FP32 destinations, else BF16. All vectors of the simulator come out bit for bit.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics import vector_unit
from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.broadcasting import room
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.matrix_unit import LARGEST
from pytest_ttbringup.emulation.numerics.multiplying import multiply
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16_even
from pytest_ttbringup.emulation.numerics.reducing import cut_to_bf16, row_sums

if TYPE_CHECKING:
    import torch


def rms_norm(
    x: torch.Tensor,
    config: KernelConfig,
    *,
    epsilon: float,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """X / sqrt(mean(x^2) + epsilon) * weight + bias over the last dimension; not packed yet.

    Args:
        x: [..., D].
        config: of the compute kernel.
        epsilon: reaches the kernel in BF16.
        weight: [D].
        bias: [D].
    """
    import torch

    quick = None if bias is not None else _at_once(x, config, epsilon, weight)
    if quick is not None:
        return quick
    squares = multiply(x, x, phases=config.phases, fp32=config.fp32)
    variance = add(_mean(squares, config), torch.tensor(_held(epsilon)), fp32=config.fp32)
    scale = _stored(variance.rsqrt(), config)
    result = multiply(x, scale, phases=config.phases, fp32=config.fp32)
    if weight is not None:
        result = multiply(result, weight, phases=config.phases, fp32=config.fp32)
    return result if bias is None else add(result, bias, fp32=config.fp32)


def _at_once(x: torch.Tensor, config: KernelConfig, epsilon: float, weight: torch.Tensor | None) -> torch.Tensor | None:
    """The same without a bias in one compiled loop; None where a square is not finite, or above 2 ** 50."""
    from pytest_ttbringup.emulation.numerics.compiled import norm

    out, result = room(x)
    columns = x.shape[-1]
    rows = x.contiguous().numpy().reshape(-1, columns)
    factors = rows[0] if weight is None else weight.contiguous().numpy()
    given = rows, factors, weight is not None, _held(epsilon), 1.0 / columns, out.reshape(-1, columns)
    return result if norm.rms_norm(*given, config.phases, config.fp32) < LARGEST else None


def layer_norm(
    x: torch.Tensor,
    config: KernelConfig,
    *,
    epsilon: float,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias; the rest as in `rms_norm`."""
    centered = add(x, -_mean(x, config), fp32=config.fp32)
    return rms_norm(centered, config, epsilon=epsilon, weight=weight, bias=bias)


def softmax(x: torch.Tensor, config: KernelConfig, *, stable: bool = True) -> torch.Tensor:
    """exp(x - max) / sum of it over the last dimension; not packed yet. Without `stable`, no maximum is subtracted."""
    import torch

    if stable:
        x = add(x, -x.amax(dim=-1, keepdim=True), fp32=config.fp32)
    powers = torch.exp(x) if config.fp32 else vector_unit.exp(x)
    inverse = _stored(row_sums(powers, config).reciprocal(), config)
    return multiply(powers, inverse, phases=config.phases, fp32=config.fp32)


@cache
def _held(epsilon: float) -> float:
    """As the kernel has it, in BF16."""
    import torch

    return to_bfloat16_even(torch.tensor(epsilon)).item()


def _mean(x: torch.Tensor, config: KernelConfig) -> torch.Tensor:
    """Sums on the matrix unit, divided by the vector unit, which does not round what it stores as BF16."""
    mean = row_sums(x, config) * (1.0 / x.shape[-1])
    return mean if config.fp32 else cut_to_bf16(mean)


def _stored(x: torch.Tensor, config: KernelConfig) -> torch.Tensor:
    """What a kernel of the vector unit that rounds to BF16, ties to even, leaves in a destination."""
    return x if config.fp32 else to_bfloat16_even(x)
