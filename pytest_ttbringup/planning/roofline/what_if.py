"""What another format of weights, or another math fidelity, would change: the bound computed anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.operations import BYTES_PER_VALUE, PHASES, Operation
from pytest_ttbringup.planning.roofline.peaks import Peaks
from pytest_ttbringup.planning.roofline.work import Step

FEWEST_BYTES = "bfloat4_b"
FEWEST_PHASES = "LoFi"


@dataclass(frozen=True)
class Alternative:
    """Other precisions of some matrix products, and the bound of the whole step with each.

    Attributes:
        label: of the products; all have the same shapes, format and fidelity.
        count: how many there are in the step.
        weights: with their weights in bfloat4_b; None if they are already.
        fidelity: at LoFi; None if they are already.
        both: with both; None unless each of them changes something.
    """

    label: str
    count: int
    weights: Bound | None
    fidelity: Bound | None
    both: Bound | None


def alternatives(operations: Sequence[Operation], peaks: Peaks, step: Step) -> list[Alternative]:
    """An alternative for each group of matmuls, those that take longest first, and one for all of them at the end."""
    groups = [it.label for it in Bound.of(operations, peaks, step).groups() if it.operations[0].operation.is_matmul]
    chosen = [{label} for label in groups] + ([set(groups)] if len(groups) > 1 else [])
    return [_alternative(operations, labels, peaks, step) for labels in chosen]


def _alternative(operations: Sequence[Operation], labels: set[str], peaks: Peaks, step: Step) -> Alternative:
    members = [it for it in operations if it.label in labels]

    def bound(*, weights: bool, fidelity: bool) -> Bound | None:
        changed = [with_precision(it, weights, fidelity) if it.label in labels else it for it in operations]
        return None if changed == list(operations) else Bound.of(changed, peaks, step)

    weights, fidelity = bound(weights=True, fidelity=False), bound(weights=False, fidelity=True)
    return Alternative(
        label=members[0].label if len(labels) == 1 else "all of them",
        count=len(members),
        weights=weights,
        fidelity=fidelity,
        both=bound(weights=True, fidelity=True) if weights and fidelity else None,
    )


def with_precision(operation: Operation, weights: bool, fidelity: bool) -> Operation:
    """A matmul with its weights in bfloat4_b, and at LoFi; what takes less already stays."""
    activations, weight, *others = operation.inputs
    if weights and BYTES_PER_VALUE[weight.dtype] > BYTES_PER_VALUE[FEWEST_BYTES]:
        operation = replace(operation, inputs=(activations, replace(weight, dtype=FEWEST_BYTES), *others))
    if fidelity and PHASES.get(operation.fidelity, 1) > PHASES[FEWEST_PHASES]:
        operation = replace(operation, fidelity=FEWEST_PHASES)
    return operation
