"""Tensors on their way to the mesh and back: shapes that differ in ones only, structures, several devices."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_ttbringup.fixtures.tensors import aligned, by_chip, gathered, mapped, to_torch


@pytest.mark.parametrize("reference_shape", [(32, 64), (32, 1, 64), (1, 32, 64), (1, 1, 32, 64)])
def test_dimensions_of_one_do_not_count(reference_shape: tuple[int, ...]) -> None:
    output, reference = torch.rand(1, 1, 32, 64), torch.rand(reference_shape)
    same, shaped = aligned(output, reference)
    assert same is output
    assert shaped.shape == output.shape
    assert torch.equal(shaped.flatten(), reference.flatten())


@pytest.mark.parametrize("reference_shape", [(64, 32), (2048,), (16, 2, 64), (1, 1, 32, 63)])
def test_other_differences_stay(reference_shape: tuple[int, ...]) -> None:
    output, reference = torch.rand(1, 1, 32, 64), torch.rand(reference_shape)
    assert aligned(output, reference) == (output, reference)


def test_axes_decide_whose_shape_is_taken() -> None:
    output, reference = torch.rand(1, 1, 32, 64), torch.rand(32, 64)
    assert [it.shape for it in aligned(output, reference, 2)] == [(32, 64), (32, 64)]
    assert [it.shape for it in aligned(output, reference, 4)] == [(1, 1, 32, 64), (1, 1, 32, 64)]


def test_members_are_aligned_one_by_one_and_a_different_structure_stays() -> None:
    output, reference = torch.rand(1, 2, 3), torch.rand(2, 3)
    one, other = aligned({"a": [output], "b": output}, {"a": (reference,), "c": reference})
    assert other["a"][0].shape == (1, 2, 3)
    assert (set(one), set(other)) == ({"a", "b"}, {"a", "c"})
    assert aligned([output], [reference, reference]) == ([output], [reference, reference])
    assert aligned(output, [reference]) == (output, [reference])


def test_mapped_keeps_the_structure() -> None:
    assert mapped({"a": [1, (2, 3)], "b": 4}, lambda it: -it) == {"a": [-1, (-2, -3)], "b": -4}


class Spread:
    """Stands for a TT-NN tensor with a part on each device."""

    def __init__(self, *parts: torch.Tensor, replicated: bool) -> None:
        self.parts = parts
        placement = Replicate() if replicated else object()
        coordinates = [(0, number) for number in range(len(parts))]
        self.tensor_topology = lambda: SimpleNamespace(placements=lambda: [placement], mesh_coords=lambda: coordinates)


class Replicate:
    """Stands for `ttnn.PlacementReplicate`."""


@pytest.fixture(autouse=True)
def _several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TT-NN whose tensors are spread."""

    def get_device_tensors(tensor: Spread) -> list[Any]:
        return [Spread(part, replicated=True) for part in tensor.parts]

    fake = SimpleNamespace(
        Tensor=Spread,
        PlacementReplicate=Replicate,
        get_device_tensors=get_device_tensors,
        to_torch=lambda tensor: tensor.parts[0],
    )
    monkeypatch.setitem(sys.modules, "ttnn", fake)


def test_shards_are_concatenated_and_replicas_given_once() -> None:
    one, two = torch.rand(1, 4), torch.rand(1, 4)
    assert torch.equal(gathered(Spread(one, two, replicated=False)), torch.cat([one, two]))
    assert torch.equal(gathered(Spread(one, one.clone(), replicated=True)), one)


def test_replicas_that_differ_are_found() -> None:
    one = torch.rand(1, 4)
    with pytest.raises(AssertionError, match=r"chip \(0, 2\) holds other values than chip \(0, 0\)"):
        gathered(Spread(one, one, one + 1, replicated=True))


def test_a_tensor_of_one_device_keeps_its_format() -> None:
    tensor = Spread(torch.rand(1, 4), replicated=True)
    assert gathered(tensor) is tensor
    assert torch.equal(to_torch(tensor), tensor.parts[0])
    assert to_torch("text") == "text"


class Halves:
    """A `Spread` over two chips, each of which has half of the columns."""

    def mapper(self, mesh_device: Any) -> Any:
        raise NotImplementedError

    def parts(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output.chunk(2, dim=-1))

    def reference_parts(self, reference: torch.Tensor) -> list[torch.Tensor]:
        return list(reference.chunk(2, dim=-1))


def test_each_chip_has_its_part_of_the_reference() -> None:
    output, reference = torch.rand(1, 1, 32, 64), torch.rand(32, 64)
    parts, expected = by_chip(output, reference, Halves())
    assert parts.shape == expected.shape == (2, 1, 1, 32, 32)
    assert torch.equal(parts[1], output[..., 32:])
    assert torch.equal(expected[1, 0, 0], reference[:, 32:])
