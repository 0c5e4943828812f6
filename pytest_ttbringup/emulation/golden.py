"""Semantics from TT-NN's own golden functions.

TT-NN attaches to most operations the PyTorch function its tests compare against. It takes the operation's arguments
with torch tensors in place of TT-NN's, which is the contract of `semantics`, too.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call, flat
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.semantics import Semantics, own_semantics
from pytest_ttbringup.emulation.signatures import only_for_output, under_golden_names

if TYPE_CHECKING:
    import torch
    import ttnn
    from ttnn.decorators import FastOperation

WITHOUT_VALUES = frozenset({"ttnn.dram_prefetcher", "ttnn.transformer.ring_mla"})
"""Operations whose golden function is of no use, see `without_values`."""

_QUASAR = "ttnn.experimental.quasar."
"""TT-NN's operations once more, for an architecture to come."""


def semantics_of(operation: FastOperation) -> Semantics | None:
    """Our own semantics of an operation, else TT-NN's golden function; None if it has neither.

    What TT-NN offers under a second name, `ttnn.eq_` in place or Quasar's, computes what the first does.
    """
    own = own_semantics().get(operation.python_fully_qualified_name)
    if own is not None:
        return own
    same = original_of(operation)
    return (semantics_of(same) if same is not None else None) or golden_semantics(operation)


def original_of(operation: FastOperation) -> FastOperation | None:
    """The operation that this one is another name for, or None."""
    name = operation.python_fully_qualified_name
    original = name.removesuffix("_")
    if name.startswith(_QUASAR):
        original = "ttnn." + name.removeprefix(_QUASAR).removesuffix("_")
    return operation_named(original) if original != name else None


def operation_named(name: str) -> FastOperation | None:
    """The registered operation of this full name, or None."""
    import ttnn
    from ttnn.decorators import FastOperation

    found: Any = ttnn
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    return found if isinstance(found, FastOperation) else None


def golden_semantics(operation: FastOperation) -> Semantics | None:
    """The operation's golden function as semantics, or None if TT-NN has none for it."""
    if operation.golden_function is None or operation.python_fully_qualified_name in WITHOUT_VALUES:
        return None

    def compute(call: Call, *arguments: Any, **keywords: Any) -> Any:
        return golden_values(operation, call, *arguments, **keywords)

    return Semantics(compute, updates=(), takes_call=True)


def golden_values(operation: FastOperation, call: Call, *arguments: Any, **keywords: Any) -> Any:
    """What the golden function of `operation` gives for these arguments of one chip.

    Raises:
        EmulationError: the golden function wrote into an input, whose buffer TT-NN did not name as an output, or it
        fails.
    """
    keywords = {name: value for name, value in keywords.items() if name not in ("queue_id", "cq_id")}
    arguments, keywords = _prepared(operation, call, arguments, keywords)
    keywords = under_golden_names(operation, len(arguments), keywords)
    keywords = {name: value for name, value in keywords.items() if not only_for_output(operation, name)}
    if "device" not in keywords and _wants_device(operation):
        output = call.output[0] if isinstance(call.output, (list, tuple)) else call.output
        keywords["device"] = output.device()
    if backward := call.name.endswith(("_bw", "_backward")):
        # These differentiate with autograd, which marks its inputs and leaves their gradients behind.
        arguments, keywords = (_with_gradient(it) for it in (arguments, keywords))
    if (form := (call.name, len(arguments), frozenset(keywords))) not in _HARMLESS:
        # A golden function may write into its inputs before anybody can see it; the first call of its kind gets copies.
        arguments, keywords = (_copied(it) for it in (arguments, keywords))
    inputs = list(flat([arguments, keywords]))
    versions = [tensor._version for tensor in inputs]
    try:
        result = operation.golden_function(*arguments, **keywords)
    except (
        ImportError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        KeyError,
        RuntimeError,
        AssertionError,
    ) as error:
        raise EmulationError(
            f"{call.name}: TT-NN's golden function fails for these arguments ({type(error).__name__}: {error}), so the "
            f'emulated device has no values for them. Give it semantics with @semantics("{call.name}").'
        ) from error
    if [tensor._version for tensor in inputs] != versions:
        raise EmulationError(
            f"{call.name}: TT-NN's golden function changes its input in place, which other buffers may share. "
            f'Give it semantics of its own with @semantics("{call.name}", updates=...).'
        )
    _HARMLESS.add(form)
    if backward and any(tensor.is_complex() for tensor in inputs):
        result = _unpacked(result)
    return _detached(result)


@cache
def _wants_device(operation: FastOperation) -> bool:
    """Whether the golden function must be told the device, of whose vector unit it takes infinity and NaN."""
    parameter = inspect.signature(operation.golden_function).parameters.get("device")
    return parameter is not None and parameter.default is parameter.empty


_HARMLESS: set[tuple[str, int, frozenset[str]]] = set()
"""Forms of calls (operation, number of arguments, keywords) whose golden function left its inputs as they were."""


def _prepared(
    operation: FastOperation, call: Call, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, Any]:
    """The arguments as the golden function wants them: some take TT-NN dtypes, the mesh or other names besides values.

    TT-NN would read the tensors here: through the host, those of all chips for each, and bfloat16 as such, so that the
    golden function rounds after every step inside. What is no tensor of TT-NN's it leaves alone.
    """
    from ttnn import decorators

    preprocess = operation.preprocess_golden_function_inputs
    if preprocess in (None, decorators.default_preprocess_golden_function_inputs):
        return arguments, keywords
    stand_ins = _stand_ins(call.arguments, arguments), _stand_ins(call.keywords, keywords)
    prepared = preprocess(stand_ins[0], call.keywords | stand_ins[1])
    return _values_again(prepared[0]), _values_again(prepared[1])


def _stand_ins(given: Any, values: Any) -> Any:
    """`values` with a stand-in for each torch tensor, which knows the tensor (or complex tensor) of TT-NN in its place
    in `given`.
    """
    import torch

    if isinstance(values, torch.Tensor):
        return _StandIn(given, values)
    if isinstance(values, (list, tuple)):
        return type(values)([_stand_ins(*pair) for pair in zip(given, values, strict=True)])
    if isinstance(values, dict):  # without outputs, which have no values; maybe with what our semantics add
        return {key: _stand_ins(given.get(key, value), value) for key, value in values.items()}
    return values


class _StandIn:
    """A tensor to look at, whose values come later."""

    def __init__(self, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
        self._tensor = tensor
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tensor, name)

    def storage_type(self) -> ttnn.StorageType:
        """On the host: `ttnn.to_torch` then reads nothing, for which it would want a composer on several chips."""
        import ttnn

        return ttnn.StorageType.HOST

    def to_torch(self, **_: Any) -> _StandIn:
        """As `ttnn.to_torch` calls it: the values still come later."""
        return self


def _values_again(value: Any) -> Any:
    if isinstance(value, _StandIn):
        return value._values
    if isinstance(value, (list, tuple)):
        return type(value)([_values_again(item) for item in value])
    if isinstance(value, dict):
        return {key: _values_again(item) for key, item in value.items()}
    return value


def _with_gradient(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        floating = value.is_floating_point() or value.is_complex()
        return value.detach().clone().requires_grad_(True) if floating else value
    if isinstance(value, (list, tuple)):
        return type(value)([_with_gradient(item) for item in value])
    if isinstance(value, dict):
        return {key: _with_gradient(item) for key, item in value.items()}
    return value


def _unpacked(gradients: Any) -> Any:
    """Complex gradients that a golden function gives as real and imaginary halves along the last dimension."""
    import torch

    if isinstance(gradients, torch.Tensor):
        return gradients if gradients.is_complex() else torch.complex(*gradients.chunk(2, dim=-1))
    return [_unpacked(it) for it in gradients] if isinstance(gradients, (list, tuple)) else gradients


def _copied(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)([_copied(item) for item in value])
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _detached(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, (list, tuple)):
        return [_detached(item) for item in value]
    return value
