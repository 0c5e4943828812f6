"""Functions of the vector unit that are polynomials of its own, as kernels with BF16 destinations evaluate them.

Sources: the wheel's `ckernel_sfpu_*.h` for Wormhole; each function names its file. Arguments and results are float32
tensors of any shape; results are rounded to BF16, ties to even, as those kernels do before they store. With FP32
destinations kernels use functions that are accurate to float32, so PyTorch's are right there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.broadcasting import flat
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16_even

if TYPE_CHECKING:
    import torch


def exp(x: torch.Tensor) -> torch.Tensor:
    """`exp_21f` of Moroz et al. 2022, within 0.2 % (`_sfpu_exp_21f_bf16_tti_` in ckernel_sfpu_exp.h).

    That one holds the last coefficient in FP16.
    """
    return _exp_21f(x, 1.001953125)


def exp_fused(x: torch.Tensor) -> torch.Tensor:
    """The same where other functions contain it, with the coefficient as published (`_sfpu_exp_21f_bf16_`)."""
    return _exp_21f(x)


@cache
def coarse_slope(scale: float) -> float:
    """What `coarse_exp_of` multiplies x by for exp(x * scale), in units of a float's first bits; held in float32."""
    import torch

    return float(torch.tensor(256 * 1.4426950408889634) * torch.tensor(scale))


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x)) with that exp (ckernel_sfpu_sigmoid.h)."""
    from pytest_ttbringup.emulation.numerics.compiled import functions

    *arrays, result = flat(x)
    functions.sigmoid(*arrays)
    return result


def silu(x: torch.Tensor) -> torch.Tensor:
    """X * sigmoid(x), the sigmoid not rounded (ckernel_sfpu_silu.h)."""
    from pytest_ttbringup.emulation.numerics.compiled import functions

    *arrays, result = flat(x)
    functions.silu(*arrays)
    return result


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Three pieces: x itself from 2.78, x times a polynomial from -3.125, and exp(-x^2 / 2) times another below, which
    loses its last bits there (`calculate_gelu_piecewise` in ckernel_sfpu_gelu.h).
    """
    import torch

    square = (x * x).contiguous()
    powers = (7.9821413868e-8, -3.8082057209e-6, 8.1812159812e-5, -1.0717806322e-3, 9.7720050615e-3, -6.6361041488e-2)
    core = x * (0.5 + x * _polynomial(square, *powers, 0.39894227818))
    tail = _exp_21f(square * -0.5, rounded=False) * _polynomial(
        x, 7.5950479368e-4, 1.3809983619e-2, 9.5413386822e-2, 0.30369991064
    )
    low = x * ((tail + 0.375) - 0.375)
    result = torch.where(x >= 2.78125, x, torch.where(x >= -3.125, core, low))
    return to_bfloat16_even(torch.where(x > -5.54259443, result, torch.where(x.isnan(), x, 0.0)))


def tanh(x: torch.Tensor) -> torch.Tensor:
    """An odd polynomial, at most 1 (ckernel_sfpu_tanh.h)."""
    import torch

    size = x.abs()
    powers = (5.876733921468258e-3, -6.6649019718170166e-2, 0.28191763162612915, -0.4890659749507904, 3.08974385e-2)
    result = _polynomial(size, *powers, 0.9990043640136719, 0.0).clamp(max=1.0)
    result = torch.where(size > 4.0, 1.0, result)  # the polynomial is above 1 from 3.9 on
    return to_bfloat16_even(torch.copysign(result, x))


def log(x: torch.Tensor) -> torch.Tensor:
    """A cubic in the mantissa, between 0.75 and 1.5 (ckernel_sfpu_log.h)."""
    import torch

    bits = x.contiguous().view(torch.int32)
    exponent = (bits - 0x3F400000) & -0x800000
    m = (bits - exponent).view(torch.float32) - 1.0
    r = _polynomial(m, -0.25, float.fromhex("0x1.744p-2"), -float.fromhex("0x1.008p-1")) * (m * m) + m
    result = exponent.float() * (0.693147182 * 1.19209290e-7) + r
    normal = (x >= torch.finfo(torch.float32).tiny) & x.isfinite()
    return to_bfloat16_even(torch.where(normal, result, x.log()))


def softplus(x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    """max(x, 0) plus a polynomial in |x| up to 5 (ckernel_sfpu_softplus.h)."""
    import torch

    t = beta * x
    size = t.abs()
    powers = (-3.1273466851e-5, 5.0152968088e-4, -1.8627923291e-3, -1.3000584069e-2, 0.14279095486, -0.50932420424)
    rest = torch.where(size > 5.0, 0.0, _polynomial(size, *powers, 0.69423984729))
    return torch.where(t <= threshold, to_bfloat16_even((t.clamp(min=0.0) + rest) / beta), x)


FUNCTIONS = {
    "exp": exp,
    "gelu": gelu,
    "log": log,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "tanh": tanh,
}
"""By the names of TT-NN's operations; the vector unit's other functions are right to BF16's last bit."""

PARAMETERS = {"softplus": ("beta", "threshold")}
"""What these functions take besides x, in the order in which TT-NN fuses them."""


def _exp_21f(x: torch.Tensor, last: float | None = None, *, rounded: bool = True) -> torch.Tensor:
    from pytest_ttbringup.emulation.numerics.compiled import functions

    *arrays, result = flat(x)
    functions.exp(*arrays, functions.LAST if last is None else last, rounded)
    return result


def _polynomial(x: torch.Tensor, first: float, *others: float) -> torch.Tensor:
    """By Horner's rule, the highest power's coefficient first.

    The unit rounds a multiply-add once and this twice, which shows in about one of 10 000 results rounded to BF16.
    """
    result = x * first
    for coefficient in others[:-1]:
        result = result.add_(coefficient).mul_(x)
    return result.add_(others[-1])
