"""The least time that recorded operations take on a chip, and what it means in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_ttbringup.planning.roofline.operations import Operation
from pytest_ttbringup.planning.roofline.peaks import Peaks
from pytest_ttbringup.planning.roofline.work import FULL_STEP, Step, Work


class OperationBound(NamedTuple):
    """Seconds that one operation takes at least for its DRAM, its products and its Ethernet; the longest counts."""

    operation: Operation
    work: Work
    dram: float
    compute: float
    ethernet: float

    @property
    def seconds(self) -> float:
        """The longest of the three: the least time of the operation."""
        return max(self.dram, self.compute, self.ethernet)

    @property
    def limit(self) -> str:
        """What takes that long; `-` if nothing takes any time."""
        if self.seconds == 0:
            return "-"
        times = {"DRAM": self.dram, "compute": self.compute, "ethernet": self.ethernet}
        return max(times, key=lambda name: times[name])


class Group(NamedTuple):
    """Operations of the same name, shapes and formats."""

    label: str
    operations: tuple[OperationBound, ...]

    @property
    def seconds(self) -> float:
        """Of all of them, one after another."""
        return sum(it.seconds for it in self.operations)


@dataclass(frozen=True)
class Bound:
    """Of a step: operations in the order they were issued.

    `seconds` is for operations one after another, each at the roofline, as a command queue runs them. `overlapped` is
    for an ideal program whose memory, matrix units and links are busy at once, across operations: nothing beats it.
    """

    operations: tuple[OperationBound, ...]

    @classmethod
    def of(cls, operations: Sequence[Operation], peaks: Peaks, step: Step = FULL_STEP) -> Bound:
        """The bound of recorded operations.

        Args:
            operations: of one chip.
            peaks: of that chip.
            step: users and positions of a decode step.
        """
        return cls(tuple(_bound(it, peaks, step) for it in operations))

    @property
    def seconds(self) -> float:
        """The least time, operations one after another."""
        return sum(it.seconds for it in self.operations)

    @property
    def overlapped(self) -> float:
        """The least time if all operations overlapped."""
        dram = sum(it.dram for it in self.operations)
        compute = sum(it.compute for it in self.operations)
        return max(dram, compute, sum(it.ethernet for it in self.operations))

    @property
    def work(self) -> Work:
        """Of all operations."""
        return Work(*(sum(column) for column in zip(*(it.work for it in self.operations), strict=True)))

    @property
    def tokens_per_second_per_user(self) -> float:
        """Of a decode step, which gives each user a token."""
        return 1 / self.seconds

    def groups(self) -> list[Group]:
        """The operations by name, shapes and formats, those that take longest first."""
        found: dict[str, list[OperationBound]] = {}
        for it in self.operations:
            found.setdefault(it.operation.label, []).append(it)
        groups = [Group(label, tuple(members)) for label, members in found.items()]
        return sorted(groups, key=lambda group: group.seconds, reverse=True)


def _bound(operation: Operation, peaks: Peaks, step: Step) -> OperationBound:
    work = Work.of(operation, step)
    return OperationBound(
        operation,
        work,
        dram=work.dram / (peaks.dram_gb_s * 1e9),
        compute=work.flops / peaks.flops(operation.fidelity),
        ethernet=work.ethernet / peaks.ethernet(operation.chips) if work.ethernet else 0.0,
    )
