"""Activations whose golden function declines to answer for some arguments, because TT-NN does not compare those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.activations import is_coarse
from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.numerics.vector_unit import PARAMETERS
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


_ELSEWHERE = {"memory_config", "output_tensor", "queue_id", "sub_core_grids"}
"""Keywords that say where, and not what; those that say False ask for no approximation."""


def _register(name: str) -> None:
    @semantics(f"ttnn.{name}")
    def compute(call: Call, input_tensor: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        """TT-NN's golden function, unless the arithmetic has a rule of its own for BF16 destinations."""
        import ttnn

        parameters = {key: value for key, value in keywords.items() if key not in _ELSEWHERE and value is not False}
        if parameters.get("mode") == ttnn.SigmoidMode.Accurate:
            del parameters["mode"]
        if not arguments and parameters.keys() <= set(PARAMETERS.get(name, ())) and _for_bf16(call):
            own = arithmetic().unary(name, input_tensor, **parameters)
            if own is not None:
                return own
        return golden_values(getattr(ttnn, name), call, input_tensor, *arguments, **keywords)


for _name in ("exp", "log", "sigmoid", "silu", "softplus", "tanh"):
    _register(_name)


def _for_bf16(call: Call) -> bool:
    return is_coarse(call.argument(0, "input_tensor").dtype, call.output.dtype)


@semantics("ttnn.gelu")
def gelu(call: Call, input_tensor: torch.Tensor, *, variant: Any = None, **_: Any) -> torch.Tensor:
    """X * Phi(x); the variant `Tanh` is another function, the others approximate this one."""
    import torch
    import ttnn

    if variant in (None, ttnn.GeluVariant.Accurate) and _for_bf16(call):
        own = arithmetic().unary("gelu", input_tensor)
        if own is not None:
            return own
    approximate = "tanh" if variant == ttnn.GeluVariant.Tanh else "none"
    return torch.nn.functional.gelu(input_tensor, approximate=approximate)


@semantics("ttnn.asin")
def asin(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """Arc sine; NaN beyond -1 … 1."""
    return input_tensor.asin()


@semantics("ttnn.acos")
def acos(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """Arc cosine; NaN beyond -1 … 1."""
    return input_tensor.acos()


@semantics("ttnn.prelu")
def prelu(input_tensor_a: torch.Tensor, weight: torch.Tensor | float | list[float], **_: Any) -> torch.Tensor:
    """Compute x where positive, else x * weight: a number, or one for each channel (dimension 1)."""
    import torch

    slopes = torch.as_tensor(weight, dtype=input_tensor_a.dtype)
    if slopes.dim() == 1 and len(slopes) > 1:
        slopes = slopes.reshape(-1, *[1] * (input_tensor_a.dim() - 2))
    return torch.where(input_tensor_a > 0, input_tensor_a, input_tensor_a * slopes)
