"""One view of torch, NumPy and TT-NN tensors, readable block by block in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ttbringup.errors import BringupError

Float64 = npt.NDArray[np.float64]
Index = tuple[Any, ...]

# Two float64 blocks of this many elements (1 MiB together) stay in a core's L2 cache.
BLOCK = 65_536
_KINDS = {"f": "float", "i": "integer", "u": "integer", "b": "bool"}


@dataclass(frozen=True)
class Operand:
    """A tensor's values without a copy of them.

    data: the elements; bfloat16 lies here as its bit patterns (uint16), because NumPy has no such type.
    dtype: the name of the number format, e.g. "bfloat16" or "bfloat8_b". kind: "float", "integer" or "bool".
    """

    data: npt.NDArray[Any]
    dtype: str
    kind: str
    bits: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.data.shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    def native(self, index: Index = ()) -> npt.NDArray[Any]:
        """Return the values at index in the narrowest NumPy type that holds them exactly."""
        # NumPy turns an array without dimensions into a scalar at every turn; asarray turns it back.
        part = np.asarray(self.data[index])
        return np.asarray(np.left_shift(part, 16, dtype=np.uint32)).view(np.float32) if self.bits else part

    def float64(self, index: Index = ()) -> Float64:
        """Return a new float64 array of the values at index."""
        return self.native(index).astype(np.float64)

    def read(self, index: Index, buffer: Float64) -> Float64:
        """Return the values at index, in C order, in the front part of buffer."""
        part = self.native(index)
        out = buffer[: part.size]
        np.copyto(out.reshape(part.shape), part)
        return out

    def at(self, flat_index: int) -> Any:
        """Return one value as a Python number."""
        return self.native(np.unravel_index(flat_index, self.shape)).item()

    def view(self, data: npt.NDArray[Any]) -> Operand:
        """Return the same format over another arrangement of the data."""
        return replace(self, data=data)


def as_operand(value: object) -> Operand:
    """View a torch tensor, NumPy array, number or TT-NN tensor as an Operand.

    Raises BringupError for anything else, for complex numbers, and for a TT-NN tensor spread over several devices.
    """
    dtype = None
    # A torch or TT-NN tensor can only exist if its library was imported, so neither is imported here.
    ttnn: Any = sys.modules.get("ttnn")
    if ttnn is not None and isinstance(value, ttnn.Tensor):
        dtype = value.dtype.name.lower()
        value = _ttnn_to_torch(ttnn, value)
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(torch, value, dtype)
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        return _from_numpy(np.asarray(value), dtype)
    raise BringupError(
        f"Cannot compare a value of type {type(value).__module__}.{type(value).__qualname__}. "
        "Give a torch tensor, a NumPy array or a TT-NN tensor, or a tuple, list or dict of them."
    )


def operand_pair(actual: object, expected: object) -> tuple[Operand, Operand]:
    """View both as operands. Raises BringupError if their shapes differ."""
    first, second = as_operand(actual), as_operand(expected)
    if first.shape != second.shape:
        raise BringupError(
            f"Cannot compare shape {list(first.shape)} with shape {list(second.shape)}: both must have the same shape."
        )
    return first, second


def block_indices(shape: tuple[int, ...]) -> Iterator[Index]:
    """Yield indices that cut an array of this shape into blocks of at most BLOCK elements, in C order.

    A block boundary inside the last axis falls on a multiple of 32, so no group of a block format is cut.
    """
    axis, inner = len(shape), 1
    while axis and inner * shape[axis - 1] <= BLOCK:
        axis -= 1
        inner *= shape[axis]
    if axis == 0:
        yield ()
        return
    axis -= 1
    rows = BLOCK // inner
    rows = -(-shape[axis] // -(-shape[axis] // rows))
    if axis == len(shape) - 1:
        rows = -(-rows // 32) * 32
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], rows):
            yield (*outer, slice(start, start + rows))


def block_buffer(shape: tuple[int, ...]) -> Float64:
    """Return a buffer that holds any block of block_indices(shape)."""
    return np.empty(min(math.prod(shape), BLOCK))


def _ttnn_to_torch(ttnn: Any, value: Any) -> Any:
    try:
        return ttnn.to_torch(value)
    except RuntimeError as error:
        raise BringupError(
            f"ttnn.to_torch could not read a TT-NN tensor of shape {list(value.shape)}. If it is spread over several "
            "devices, gather it first: ttnn.to_torch(tensor, mesh_composer=...)."
        ) from error


def _from_torch(torch: Any, tensor: Any, dtype: str | None) -> Operand:
    name = dtype or str(tensor.dtype).removeprefix("torch.")
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return Operand(tensor.view(torch.int16).numpy().view(np.uint16), name, "float", bits=True)
    if tensor.is_floating_point() and tensor.element_size() == 1:
        tensor = tensor.float()
    return _from_numpy(tensor.resolve_conj().resolve_neg().numpy(), name)


def _from_numpy(array: npt.NDArray[Any], dtype: str | None) -> Operand:
    name = dtype or array.dtype.name
    if array.dtype.name == "bfloat16":  # the type of the ml_dtypes package
        return Operand(array.view(np.uint16), name, "float", bits=True)
    kind = _KINDS.get(array.dtype.kind)
    if kind is None:
        raise BringupError(
            f"Cannot compare {name} values. Give real numbers; compare the parts of complex numbers one by one."
        )
    return Operand(array, name, kind)
