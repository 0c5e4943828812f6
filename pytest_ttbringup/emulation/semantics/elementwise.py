"""Element-wise arithmetic on two operands of floating point.

TT-NN's golden functions agree with these, but look into every operand's dtype first, which costs more than the
arithmetic of a decode step. Integers, whose overflow has rules of its own, stay with TT-NN's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.activations import activated, is_coarse
from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


def _register(name: str, function: Callable[[Any, Any], torch.Tensor]) -> None:
    @semantics(f"ttnn.{name}", f"ttnn.{name}_")
    def compute(
        call: Call,
        input_tensor_a: torch.Tensor | float | None = None,
        input_tensor_b: torch.Tensor | float | None = None,
        *,
        input_a: Any = None,
        input_b: Any = None,
        activations: Any = None,
        input_tensor_a_activations: Any = None,
        input_tensor_b_activations: Any = None,
        **keywords: Any,
    ) -> Any:
        import ttnn

        # ttnn.multiply_ has other names for its operands than ttnn.add_
        input_tensor_a = input_a if input_tensor_a is None else input_tensor_a
        input_tensor_b = input_b if input_tensor_b is None else input_tensor_b
        if not (_is_float(input_tensor_a) and _is_float(input_tensor_b)):
            operation = getattr(ttnn, name)
            fused = {
                "activations": activations,
                "input_tensor_a_activations": input_tensor_a_activations,
                "input_tensor_b_activations": input_tensor_b_activations,
            }
            keywords |= {key: value for key, value in fused.items() if value is not None}
            return golden_values(operation, call, input_tensor_a, input_tensor_b, **keywords)
        given = (call.argument(*_names(call, "a", 0)), call.argument(*_names(call, "b", 1)))
        formats = (getattr(given[0], "dtype", None), getattr(given[1], "dtype", None))
        coarse = is_coarse(*formats, call.output.dtype)
        a = _operand(input_tensor_a, input_tensor_a_activations, coarse)
        b = _operand(input_tensor_b, input_tensor_b_activations, coarse)
        own = arithmetic().binary(name, a, b, formats, call.output.dtype) if None not in formats else None
        return activated(function(a, b) if own is None else own, activations, coarse)


def _is_float(operand: Any) -> bool:
    return isinstance(operand, (int, float)) or operand.is_floating_point()


def _names(call: Call, operand: str, position: int) -> tuple[int, str]:
    """The position and name of an operand: `ttnn.multiply_` calls them otherwise than `ttnn.add_`."""
    name = f"input_tensor_{operand}"
    return position, name if name in call.keywords else f"input_{operand}"


def _operand(operand: Any, activations: Any, coarse: bool) -> Any:
    import torch

    return activated(torch.as_tensor(operand), activations, coarse) if activations else operand


_register("add", lambda a, b: a + b)
_register("subtract", lambda a, b: a - b)
_register("multiply", lambda a, b: a * b)
