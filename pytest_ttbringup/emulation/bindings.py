"""TT-NN's own signatures: which argument of a C++ operation is which.

The communication operations have overloads whose positional arguments differ, so that a Python function can't take them
as they come. Their bindings say what they accept (`__nb_signature__` of nanobind).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.handles import TensorHandle

if TYPE_CHECKING:
    from ttnn.decorators import FastOperation


class Parameter(NamedTuple):
    """One parameter: its name, its type as written, and whether a caller may give it by position."""

    name: str
    annotation: str
    positional: bool


def bound(operation: FastOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by TT-NN's names; those that were left to their defaults are not in it.

    Raises:
        EmulationError: no overload takes these arguments.
    """
    for overload in overloads(operation):
        names = [parameter.name for parameter in overload if parameter.positional]
        given = dict(zip(names, arguments, strict=False)) | keywords
        known = {parameter.name: parameter for parameter in overload}
        if len(given) == len(arguments) + len(keywords) and all(
            name in known and _fits(value, known[name].annotation) for name, value in given.items()
        ):
            return given
    raise EmulationError(
        f"{operation.python_fully_qualified_name}: none of TT-NN's signatures takes these arguments "
        f"({', '.join([type(value).__name__ for value in arguments] + list(keywords))})."
    )


@cache
def overloads(operation: FastOperation) -> list[list[Parameter]]:
    """The parameters of every overload of a C++ operation, without `self`."""
    call: Any = type(operation.function).__call__
    return [_parameters(signature[0]) for signature in call.__nb_signature__]


def _parameters(signature: str) -> list[Parameter]:
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    parameters, positional = [], True
    for item in re.split(r", (?![^\[]*\])", inside)[1:]:  # a comma inside brackets belongs to a type
        if item == "*":
            positional = False
            continue
        name, _, annotation = item.partition(": ")
        parameters.append(Parameter(name, annotation.partition(" = ")[0], positional))
    return parameters


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value may be meant for a parameter of this type: enough to tell TT-NN's overloads apart."""
    import ttnn

    if value is None:
        return "None" in annotation
    if isinstance(value, bool):
        return "bool" in annotation
    if isinstance(value, (int, float)):
        return re.search(r"\b(int|float)\b", annotation) is not None
    if isinstance(value, (ttnn.Tensor, TensorHandle)):
        return re.search(r"\bTensor\b", annotation) is not None and "Sequence" not in annotation
    if isinstance(value, ttnn.MeshDevice):
        return "MeshDevice" in annotation
    return not re.fullmatch(r"(int|float|bool)( \| None)?|\S*\.(Tensor|MeshDevice)( \| None)?", annotation)
