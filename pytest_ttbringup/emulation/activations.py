"""Activations that TT-NN fuses into another operation, by `ttnn.UnaryOpType`, by name, or with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.numerics.vector_unit import PARAMETERS

if TYPE_CHECKING:
    import torch
    import ttnn

Activation = Callable[..., Any]


def activated(values: torch.Tensor, activations: Any, coarse: bool = False) -> torch.Tensor:
    """`values` after one activation, a list of them in turn, or none.

    Args:
        values: of any shape.
        activations: as TT-NN takes them.
        coarse: whether the vector unit computes for BF16 destinations, for which an arithmetic may have its own rules.

    Raises:
        EmulationError: an activation has no rule here.
    """
    if activations is None:
        return values
    if isinstance(activations, str) or not isinstance(activations, Iterable) or _with_parameters(activations):
        activations = [activations]
    for activation in activations:
        kind, *given = activation if isinstance(activation, tuple) else [getattr(activation, "op_type", activation)]
        name = kind.upper().removesuffix("_APPROX") if isinstance(kind, str) else kind.name
        function = _functions().get(name)
        if function is None:
            raise EmulationError(
                f"the fused activation {name} is not emulated; those that are: {', '.join(sorted(_functions()))}"
            )
        parameters = given or getattr(activation, "params", None) or ()
        own = _own(name.lower(), values, parameters) if coarse else None
        values = function(values, *parameters) if own is None else own
    return values


def is_coarse(*formats: ttnn.DataType | None) -> bool:
    """Whether the vector unit computes for BF16 destinations: no tensor of its operands and result is of FP32.

    Args:
        formats: of the tensors; None for a number.
    """
    import ttnn

    return all(it in (ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, None) for it in formats)


def _own(name: str, values: torch.Tensor, parameters: Sequence[float]) -> torch.Tensor | None:
    """By an arithmetic's own rule, unless there are parameters that it does not know, as of an approximate mode."""
    names = PARAMETERS.get(name, ())
    if len(parameters) > len(names):
        return None
    return arithmetic().unary(name, values, **dict(zip(names, parameters, strict=False)))


def _with_parameters(activations: Any) -> bool:
    """Whether this is one activation with its parameters, such as (ttnn.UnaryOpType.GELU, False), and not several."""
    return isinstance(activations, tuple) and any(isinstance(it, (int, float)) for it in activations)


@cache
def _functions() -> dict[str, Activation]:
    import torch
    from torch.nn import functional

    return {
        "ABS": torch.abs,
        "ACOS": torch.acos,
        "ACOSH": torch.acosh,
        "ADD_UNARY_SFPU": lambda x, value: x + value,
        "ASIN": torch.asin,
        "ASINH": torch.asinh,
        "ATAN": torch.atan,
        "ATANH": torch.atanh,
        "CBRT": lambda x: x.sign() * x.abs().pow(1 / 3),
        "CEIL": torch.ceil,
        "CELU": lambda x, alpha=1.0: functional.celu(x, alpha),
        "CLAMP_TSS": lambda x, least, most: x.clamp(least, most),
        "COS": torch.cos,
        "COSH": torch.cosh,
        "DIV_UNARY_SFPU": lambda x, value: x / value,
        "ELU": lambda x, alpha=1.0: functional.elu(x, alpha),
        "EQZ": lambda x: x == 0,
        "ERF": lambda x, *_: torch.erf(x),
        "ERFC": lambda x, *_: torch.erfc(x),
        "ERFINV": torch.erfinv,
        "EXP": lambda x, *_: torch.exp(x),
        "EXP2": torch.exp2,
        "EXPM1": torch.expm1,
        "FILL": lambda x, value: torch.full_like(x, value),
        "FLOOR": torch.floor,
        "FMOD": torch.fmod,
        "FRAC": torch.frac,
        "GELU": lambda x, *_: functional.gelu(x),
        "GELU_TANH": lambda x, *_: functional.gelu(x, approximate="tanh"),
        "GEZ": lambda x: x >= 0,
        "GTZ": lambda x: x > 0,
        "HARDSHRINK": lambda x, beyond=0.5: functional.hardshrink(x, beyond),
        "HARDSIGMOID": functional.hardsigmoid,
        "HARDSWISH": functional.hardswish,
        "HARDTANH": lambda x, least=-1.0, most=1.0: functional.hardtanh(x, least, most),
        "HEAVISIDE": lambda x, value: torch.heaviside(x, torch.full_like(x, value)),
        "I0": torch.special.i0,
        "I1": torch.special.i1,
        "IDENTITY": lambda x: x,
        "LEAKY_RELU": lambda x, slope=0.01: functional.leaky_relu(x, slope),
        "LEZ": lambda x: x <= 0,
        "LOG": lambda x, *_: torch.log(x),
        "LOG10": lambda x, *_: torch.log10(x),
        "LOG1P": lambda x, *_: torch.log1p(x),
        "LOG2": lambda x, *_: torch.log2(x),
        "LOGICAL_NOT_UNARY": torch.logical_not,
        "LOGSIGMOID": lambda x, *_: functional.logsigmoid(x),
        "LTZ": lambda x: x < 0,
        "MAXIMUM": lambda x, value: x.clamp(min=value),
        "MINIMUM": lambda x, value: x.clamp(max=value),
        "MISH": lambda x, *_: functional.mish(x),
        "MUL_UNARY_SFPU": lambda x, value: x * value,
        "NEG": torch.neg,
        "NEZ": lambda x: x != 0,
        "POWER": torch.pow,
        "POWER_ITERATIVE": torch.pow,
        "PRELU_SFPU": lambda x, slope: functional.leaky_relu(x, slope),
        "RECIP": torch.reciprocal,
        "RELU": torch.relu,
        "RELU6": functional.relu6,
        "RELU_MAX": lambda x, limit: x.clamp(0, limit),
        "RELU_MIN": lambda x, limit: x.clamp(min=limit),
        "REMAINDER": torch.remainder,
        "ROUND": lambda x, decimals=0: torch.round(x, decimals=int(decimals)),
        "RPOW": lambda x, base: torch.pow(base, x),
        "RSQRT": lambda x, *_: torch.rsqrt(x),
        "RSUB": lambda x, value: value - x,
        "SELU": lambda x, *_: functional.selu(x),
        "SIGMOID": lambda x, *_: torch.sigmoid(x),
        "SIGN": torch.sign,
        "SIGNBIT": torch.signbit,
        "SILU": lambda x, *_: functional.silu(x),
        "SIN": torch.sin,
        "SINH": torch.sinh,
        "SOFTPLUS": lambda x, beta=1.0, threshold=20.0: functional.softplus(x, beta, threshold),
        "SOFTSHRINK": lambda x, beyond=0.5: functional.softshrink(x, beyond),
        "SOFTSIGN": functional.softsign,
        "SQRT": lambda x, *_: torch.sqrt(x),
        "SQUARE": torch.square,
        "SUB_UNARY_SFPU": lambda x, value: x - value,
        "TAN": torch.tan,
        "TANH": lambda x, *_: torch.tanh(x),
        "TANHSHRINK": lambda x, *_: functional.tanhshrink(x),
        "THRESHOLD": lambda x, threshold, value: functional.threshold(x, threshold, value),
        "TRUNC": torch.trunc,
        "UNARY_EQ": lambda x, value: x == value,
        "UNARY_GE": lambda x, value: x >= value,
        "UNARY_GT": lambda x, value: x > value,
        "UNARY_LE": lambda x, value: x <= value,
        "UNARY_LT": lambda x, value: x < value,
        "UNARY_NE": lambda x, value: x != value,
    }
