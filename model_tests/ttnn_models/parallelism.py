"""How a model is spread over the chips of a mesh: data parallel, tensor parallel, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import ttnn

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.parallel import Kind, degrees

Residual = Literal["replicated", "fractured"]
Form = Literal["tokens", "whole", "residual"]
"""What a module takes or gives: tokens [B/32, 32], rows [1, 1, B, …] that each chip of an instance has whole, or rows
as the residual keeps them."""


@dataclass(frozen=True)
class Parallelism:
    """Data: instances of the model with users of their own. Tensor: the chips that share an instance's weights.

    The chips of a mesh, row by row, are a table of `data` rows with `tensor` columns. The default is neither: every
    chip of the mesh holds, and computes, the same.

    Attributes:
        data: instances.
        tensor: chips of an instance, neighbours along one axis of the mesh.
        tensor_axis: that axis, TT-NN's `cluster_axis` of all collectives.
        residual: what the chips of an instance keep of the hidden state between modules: all of it each
            ("replicated": an all-reduce behind every row-parallel product), or a column block each ("fractured": a
            reduce-scatter there, and a distributed norm with an all-gather behind it, as in TT-NN's own LLM code).
        pad_heads: let heads that can't be dealt out evenly be filled up with heads of zeros.
    """

    data: int = 1
    tensor: int = 1
    tensor_axis: int = 1
    residual: Residual = "replicated"
    pad_heads: bool = True

    @classmethod
    def over(
        cls, mesh_shape: Sequence[int], kind: Kind, *, residual: Residual = "replicated", pad_heads: bool = True
    ) -> Parallelism:
        """All chips of a mesh: each an instance ("dp"), all one instance ("tp"), or each row an instance ("dpxtp").

        Raises:
            BringupError: the mesh has no such rows or columns.
        """
        rows, columns = mesh_shape
        data, tensor = degrees((rows, columns), kind)
        axis = 0 if kind == "tp" and columns == 1 else 1
        return cls(data=data, tensor=tensor, tensor_axis=axis, residual=residual, pad_heads=pad_heads)

    @property
    def fractured(self) -> bool:
        """Whether a chip keeps only its columns of the hidden state."""
        return self.residual == "fractured" and self.tensor > 1

    @property
    def residual_dim(self) -> int | None:
        """The dimension of [1, 1, rows, D] along which an instance's chips share the residual; None: each has all."""
        return 3 if self.fractured else None

    def mapper(self, *, data: int | None = None, tensor: int | None = None) -> ttnn.MeshMapperConfig:
        """How a host tensor is dealt out: along dimension `data` to the instances, along `tensor` to their chips."""
        if self.data * self.tensor == 1:
            return ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementReplicate()])
        placements = [ttnn.PlacementReplicate() if dim is None else ttnn.PlacementShard(dim) for dim in (data, tensor)]
        return ttnn.MeshMapperConfig(placements, ttnn.MeshShape([self.data, self.tensor]))

    def to_mesh(
        self, mesh_device: ttnn.MeshDevice, *, data: int | None = None, tensor: int | None = None
    ) -> ttnn.TensorToMesh:
        """`mapper` as `ttnn.from_torch` takes it."""
        return ttnn.create_mesh_mapper(mesh_device, self.mapper(data=data, tensor=tensor))

    def parts(self, tensor: ttnn.Tensor) -> list[list[torch.Tensor]]:
        """What every chip holds of a device or host tensor: for each instance, for each of its chips.

        Where there is one instance of one chip, every chip of the mesh holds a copy, and they must be equal.

        Raises:
            AssertionError: a copy differs; the message names the chip.
        """
        flat = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]
        if self.data * self.tensor == 1:
            return [[_all_equal(list(enumerate(flat)))[1]]]
        return [flat[row * self.tensor : (row + 1) * self.tensor] for row in range(self.data)]

    def join(self, tensor: ttnn.Tensor, *, data: int | None = None, tensor_dim: int | None = None) -> torch.Tensor:
        """A device or host tensor as one: instances joined along dimension `data`, their chips along `tensor_dim`.

        Along neither, the chips must hold the same.

        Raises:
            AssertionError: they do not; the message names the chip that differs.
        """
        instances = [self._joined(number, chips, tensor_dim) for number, chips in enumerate(self.parts(tensor))]
        if data is None:
            return _all_equal(instances)[1]
        return instances[0][1] if len(instances) == 1 else torch.cat([values for _, values in instances], dim=data)

    def _joined(self, instance: int, chips: Sequence[torch.Tensor], dim: int | None) -> tuple[int, torch.Tensor]:
        """The number of an instance's first chip, and what its chips hold, joined along `dim`."""
        first = instance * self.tensor
        if dim is None:
            return _all_equal(list(enumerate(chips, start=first)))
        return first, torch.cat(list(chips), dim=dim)

    def take(self, tensor: ttnn.Tensor, *, data: int) -> torch.Tensor:
        """As `join` of a tensor that an instance's chips all hold, but only its first chip is read."""
        flat = ttnn.get_device_tensors(tensor)
        rows = [ttnn.to_torch(flat[number * self.tensor]) for number in range(self.data)]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=data)

    def prefilled(self, x: ttnn.Tensor) -> torch.Tensor:
        """A prefill's [1, 1, S, D] of every instance as the residual keeps it, on the host: [instances, 1, S, D].

        Raises:
            AssertionError: chips that should hold the same do not.
        """
        return self.join(x, data=0, tensor_dim=self.residual_dim)

    def spread(self, given: Form, taken: Form, *, prefill: bool = False) -> Spread:
        """For `compare`: how a module's input and output lie on the mesh.

        Args:
            given: the input's form.
            taken: the output's.
            prefill: whether an instance's rows are those of a prompt, [instances, 1, S, …]; else they are its users in
                [1, 1, B, …].
        """
        dims: dict[Form, tuple[int, int | None]] = {
            "tokens": (0, None),
            "whole": (2, None),
            "residual": (2, self.residual_dim),
        }
        given_dims, taken_dims = ((0 if prefill else data, tensor) for data, tensor in (dims[given], dims[taken]))
        return Spread(self, given_dims, taken_dims)

    def chips(self, instance: int) -> str:
        """Where an instance is, for messages: nothing if it is the only one; chips count row by row."""
        first, last = instance * self.tensor, (instance + 1) * self.tensor - 1
        if self.data == 1:
            return ""
        return f" on chip {first}" if first == last else f" on chips {first} to {last}"

    def split(self, what: str, size: int, unit: int = 1) -> int:
        """A chip's share of `size`, in whole units.

        Raises:
            BringupError: it can't be dealt out evenly.
        """
        if size % (self.tensor * unit):
            of = "" if unit == 1 else f" in units of {unit}"
            raise BringupError(
                f"Tensor parallel on {self.tensor} chips: {what} = {size} can't be dealt out evenly{of}. "
                f"Degrees that divide it: {', '.join(map(str, _degrees(size // unit)))}."
            )
        return size // self.tensor


@dataclass(frozen=True)
class Spread:
    """How `compare` deals the input out to the chips, and which part of the reference each chip's output is.

    Attributes:
        given, taken: of input and output, the dimension dealt out to the instances, and the one dealt out to the chips
            of an instance; None for none.
    """

    parallelism: Parallelism
    given: tuple[int | None, int | None]
    taken: tuple[int | None, int | None]

    def mapper(self, mesh_device: ttnn.MeshDevice) -> ttnn.TensorToMesh:
        """For an input."""
        data, tensor = self.given
        return self.parallelism.to_mesh(mesh_device, data=data, tensor=tensor)

    def parts(self, output: ttnn.Tensor) -> list[torch.Tensor]:
        """What each chip holds of the output."""
        return [part for chips in self.parallelism.parts(output) for part in chips]

    def reference_parts(self, reference: torch.Tensor) -> list[torch.Tensor]:
        """What each chip should hold, of a reference with the output's dimensions."""
        data, tensor = self.taken
        instances = self.parallelism.data, data
        chips = self.parallelism.tensor, tensor
        return [part for row in _dealt(reference, *instances) for part in _dealt(row, *chips)]


SINGLE = Parallelism()
"""Everything on one chip, or the same on each."""


def _dealt(whole: torch.Tensor, count: int, dim: int | None) -> Sequence[torch.Tensor]:
    return [whole] * count if dim is None else whole.chunk(count, dim=dim)


def _degrees(units: int) -> list[int]:
    return [degree for degree in (1, 2, 3, 4, 6, 8, 16, 32) if units % degree == 0]


def _all_equal(named: Sequence[tuple[int, torch.Tensor]]) -> tuple[int, torch.Tensor]:
    """The first chip and its values, which must be those of the others."""
    (first, kept), *others = named
    for number, part in others:
        differs = (part != kept) & ~(part.isnan() & kept.isnan())  # attention of inactive users is undefined
        if differs.any():
            raise AssertionError(
                f"chips should hold the same, but chip {number} holds other values than chip {first}: "
                f"{int(differs.sum())} of {kept.numel()} elements differ. Was a collective left out?"
            )
    return first, kept
