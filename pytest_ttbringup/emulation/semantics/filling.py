"""Tensors filled with one number, which is all that the host keeps of them until something else is written there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.zeros", "ttnn.zeros_like")
def zeros(call: Call, *_: Any, **__: Any) -> torch.Tensor:
    """Zeros of the output's shape."""
    return _filled(call, 0.0)


@semantics("ttnn.ones", "ttnn.ones_like")
def ones(call: Call, *_: Any, **__: Any) -> torch.Tensor:
    """Ones of the output's shape."""
    return _filled(call, 1.0)


@semantics("ttnn.full", "ttnn.full_like")
def full(call: Call, *arguments: Any, **options: Any) -> torch.Tensor:
    """`fill_value`, the second argument, in the output's shape; the first has another name in each of the two."""
    return _filled(call, options["fill_value"] if "fill_value" in options else arguments[1])


def _filled(call: Call, value: float) -> torch.Tensor:
    import torch

    dtype = torch.float32 if isinstance(value, float) else torch.int64
    return torch.tensor(value, dtype=dtype).expand(tuple(call.output.shape))
