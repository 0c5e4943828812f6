"""Moves that change the order of values or the way a tensor is cut, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.experimental.view", "ttnn.reshape")
def view(call: Call, input_tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """The same values in another shape."""
    return input_tensor.reshape(tuple(call.output.shape))


@semantics("ttnn.experimental.padded_slice")
def padded_slice(
    call: Call,
    input_tensor: torch.Tensor,
    padded_slice_start: Sequence[int],
    padded_slice_end: Sequence[int],
    padded_slice_step: Sequence[int] | None = None,
    *,
    pad_value: float | None = None,
    **_: Any,
) -> torch.Tensor:
    """input[start:end:step], with columns added to those of the output."""
    import torch

    steps = padded_slice_step or [1] * len(padded_slice_start)
    cut = input_tensor[tuple(slice(*it) for it in zip(padded_slice_start, padded_slice_end, steps, strict=True))]
    columns = int(call.output.shape[-1]) - cut.shape[-1]
    return torch.nn.functional.pad(cut, (0, columns), value=pad_value or 0.0)


@semantics("ttnn.experimental.convert_to_chw")
def convert_to_chw(call: Call, input: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: A002
    """[1, 1, HW, C] -> [1, 1, C', HW], of the first C' channels."""
    return input.transpose(-1, -2)[..., : int(call.output.shape[-2]), :]


@semantics("ttnn.experimental.convert_to_hwc")
def convert_to_hwc(call: Call, input: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: A002
    """[B, 1, C, HW] or [1, B, C, HW] -> [1, 1, B HW, C'], channels padded to C' with zeros."""
    import torch

    rows = input.transpose(-1, -2).reshape(1, 1, -1, input.shape[-2])
    return torch.nn.functional.pad(rows, (0, int(call.output.shape[-1]) - rows.shape[-1]))


@semantics("ttnn.experimental.transpose_rm")
def transpose_rm(input: torch.Tensor) -> torch.Tensor:  # noqa: A002
    """The last two dimensions exchanged."""
    return input.transpose(-1, -2)


@semantics("ttnn.experimental.isin")
def isin(elements: torch.Tensor, test_elements: torch.Tensor, *, invert: bool = False, **_: Any) -> torch.Tensor:
    """Which elements occur among `test_elements`; with `invert` which do not."""
    import torch

    return torch.isin(elements.long(), test_elements.long(), invert=invert)


@semantics("ttnn.index_fill_new")
def index_fill_new(input: torch.Tensor, dim: int, index: torch.Tensor, value: float, **_: Any) -> torch.Tensor:  # noqa: A002
    """A copy with `value` at these indices of dimension `dim`."""
    return input.index_fill(dim, index.reshape(-1).long(), value)


@semantics("ttnn.scatter")
def scatter(
    input: torch.Tensor,  # noqa: A002
    dim: int,
    index: torch.Tensor,
    src: torch.Tensor,
    *,
    reduce: str | None = None,
    **_: Any,
) -> torch.Tensor:
    """PyTorch's scatter, with its reductions, which TT-NN's golden function leaves out."""
    names = {"add": "sum", "multiply": "prod", "amin": "amin", "amax": "amax"}
    if not reduce:
        return input.scatter(dim, index.long(), src)
    return input.scatter_reduce(dim, index.long(), src, names.get(reduce, reduce))


@semantics("ttnn.reallocate")
def reallocate(input_tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """The same values elsewhere; TT-NN frees the input."""
    return input_tensor
