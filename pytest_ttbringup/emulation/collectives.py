"""Operations whose result on one chip depends on what other chips hold.

A collective function computes for one group of chips at once: those along the cluster axis, or all of the mesh. It
takes the operation's arguments under TT-NN's own names, with a list of torch tensors, one per chip of the group, in
place of each TT-NN tensor; and returns a list with each chip's result, in the group's order: a tensor, a tuple of
tensors where the operation returns several, or None for a chip whose output the operation does not write. The caller
rounds results to the output's dtype. To add one:

    @collective("ttnn.all_gather")
    def all_gather(group, *, input_tensor, dim, **_):
        return [torch.cat(input_tensor, dim=dim)] * len(input_tensor)

Give chips that end up with the same values the same tensor, so that it is held once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_ttbringup.emulation.calls import substitute
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.host import values_of
from pytest_ttbringup.emulation.values import Chip, Shards

if TYPE_CHECKING:
    import torch
    import ttnn

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Group:
    """The chips among which one instance of a collective runs.

    Attributes:
        name: the operation's full name.
        chips: their mesh coordinates, in the order in which their parts are joined.
        mesh_shape: the shape of the whole mesh.
        outputs: the tensors TT-NN returned.
        arguments: by TT-NN's names, with its tensors.
    """

    name: str
    chips: list[Chip]
    mesh_shape: tuple[int, ...]
    outputs: list[ttnn.Tensor]
    arguments: dict[str, Any]

    def device_number(self, chip: Chip) -> int:
        """The chip's place in the whole mesh, row by row."""
        return int(sum(c * math.prod(self.mesh_shape[axis + 1 :]) for axis, c in enumerate(chip)))


_REGISTERED: dict[str, Callable[..., Any]] = {}


def collective(*names: str) -> Callable[[_Function], _Function]:
    """Register a function as what the operations of these full names do on a group of chips."""

    def register(function: _Function) -> _Function:
        for name in names:
            if name in _REGISTERED:
                raise ValueError(f"{name} is a collective already: {_REGISTERED[name].__qualname__}")
            _REGISTERED[name] = function
        return function

    return register


def collective_function(name: str) -> Callable[..., Any] | None:
    """The function of a collective operation, or None if it is none; the modules of `semantics` must be loaded."""
    return _REGISTERED.get(name)


_WITHOUT_FABRIC = frozenset(
    {
        "ttnn.mesh_partition",
        "ttnn.moe_routing_remap",
        "ttnn.transformer.ring_distributed_scaled_dot_product_attention",
    }
)
"""Collectives whose chips differ by their place only, and exchange nothing."""


def require_fabric(name: str, tensor: ttnn.Tensor) -> None:
    """Refuse a collective on a mesh of several chips whose fabric is off; a deallocated tensor passes.

    Raises:
        EmulationError: the fabric is off.
    """
    import ttnn

    mesh = tensor.device()
    alone = mesh is None or mesh.get_num_devices() == 1 or name in _WITHOUT_FABRIC
    if not alone and ttnn.get_fabric_config() == ttnn.FabricConfig.DISABLED:
        raise EmulationError(
            f"{name}: chips can't exchange anything, the fabric is off. Call ttnn.set_fabric_config(...) before the "
            "mesh is opened, or give the test's device_params a fabric_config."
        )


def chip_groups(mesh_shape: tuple[int, ...], cluster_axis: int | Sequence[int] | None) -> list[list[Chip]]:
    """The groups of a collective along a mesh axis; one group of all chips, row by row, when there is no axis, or
    several.
    """
    chips = list(itertools.product(*map(range, mesh_shape)))
    if not isinstance(cluster_axis, int):
        return [chips]
    axis = cluster_axis % len(mesh_shape)
    groups: dict[Chip, list[Chip]] = {}
    for chip in chips:
        groups.setdefault(chip[:axis] + chip[axis + 1 :], []).append(chip)
    return list(groups.values())


def run_collective(
    name: str,
    arguments: dict[str, Any],
    outputs: list[ttnn.Tensor],
    values: dict[int, Shards],
    finish: Callable[[torch.Tensor, ttnn.Tensor], torch.Tensor],
) -> list[Shards]:
    """What each output holds on each chip that the collective writes.

    Args:
        name: the operation's full name.
        arguments: by TT-NN's names, with its tensors.
        outputs: what TT-NN returned.
        values: what the device tensors among the arguments hold, by the tensor's id.
        finish: gives a result the shape and rounding of its output.
    """
    function = _REGISTERED[name]
    mesh_shape = tuple(outputs[0].device().shape)
    results: list[Shards] = [{} for _ in outputs]
    finished: dict[tuple[int, int], torch.Tensor] = {}
    computed: dict[Any, list[Any]] = {}  # all are kept: `finished` knows parts by their id
    for chips in _groups_of(values, mesh_shape, arguments.get("cluster_axis")):
        group = Group(name, chips, mesh_shape, outputs, arguments)
        # Groups that hold the very same tensors have the same results, unless the chips' own places matter.
        same: Any = tuple(id(shards.get(chip)) for shards in values.values() for chip in chips)
        if getattr(function, "by_place", False):
            same = tuple(chips)
        if same not in computed:
            computed[same] = _evaluate(function, group, arguments, values)
        for chip, parts in zip(chips, computed[same], strict=True):
            if parts is None:
                continue
            parts = parts if isinstance(parts, tuple) else (parts,)
            if len(parts) != len(outputs):
                raise EmulationError(f"{name}: gives {len(parts)} tensors where TT-NN returned {len(outputs)}")
            for number, (part, output) in enumerate(zip(parts, outputs, strict=True)):
                if part is None:
                    continue
                if (number, id(part)) not in finished:
                    finished[number, id(part)] = finish(part, output)
                results[number][chip] = finished[number, id(part)]
    return results


def _groups_of(
    values: dict[int, Shards], mesh_shape: tuple[int, ...], cluster_axis: int | Sequence[int] | None
) -> list[list[Chip]]:
    """The groups of the chips on which every input has a part."""
    groups = chip_groups(mesh_shape, cluster_axis)
    if values:
        groups = [[chip for chip in group if all(chip in it for it in values.values())] for group in groups]
    return [group for group in groups if group]


def by_place(function: _Function) -> _Function:
    """Mark a collective whose results depend on where its chips lie in the mesh, and not on their values alone."""
    function.by_place = True  # type: ignore[attr-defined]
    return function


def _evaluate(
    function: Callable[..., Any], group: Group, arguments: dict[str, Any], values: dict[int, Shards]
) -> list[Any]:
    def on_chips(tensor: ttnn.Tensor) -> Any:
        shards = values.get(id(tensor))
        if shards is None:
            return [values_of(tensor)] * len(group.chips)
        missing = [chip for chip in group.chips if chip not in shards]
        if missing:
            raise EmulationError(f"{group.name}: chip {missing[0]} has no part of an input tensor")
        return [shards[chip] for chip in group.chips]

    return list(function(group, **substitute(arguments, on_chips)))
