"""Whether a model fits a system, on how many chips, and how many copies of it: the sentence and the figures."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ttbringup.planning.footprint import Footprint, Workload, cache_bytes_per_token, footprint
from pytest_ttbringup.planning.model_size import ModelSize
from pytest_ttbringup.targets.systems import System

GIB = 1 << 30


@dataclass(frozen=True)
class Plan:
    """How a model runs on a system.

    Attributes:
        system: the machine.
        machines: how many of them, with no links between them.
        fits: whether it does at all.
        tensor_parallel: chips that one copy is split over: the fewest that hold it, or, if none do, all of them.
        copies: copies side by side (data parallel); 0 if it does not fit.
        needed: bytes on each chip.
        left: bytes of each chip that stay free; below 0 if it does not fit.
        more_tokens: further positions, of all users together, that a copy's cache could hold in what is left.
        padded_heads: heads with those of zeros that make them divisible; the model's own number if it is.
    """

    size: ModelSize
    work: Workload
    system: System
    machines: int
    fits: bool
    tensor_parallel: int
    copies: int
    needed: Footprint
    left: int
    more_tokens: int
    padded_heads: int

    @property
    def name(self) -> str:
        """The machine as `ttbringup plan` takes it: `n150`, or `4xn150` for four of them."""
        return self.system.name if self.machines == 1 else f"{self.machines}x{self.system.name}"

    @property
    def sentence(self) -> str:
        """What the figures mean."""
        chip = f"{self.system.dram_gib_per_chip} GiB chip"
        if not self.fits:
            chips = "one chip" if self.tensor_parallel == 1 else f"each of {self.tensor_parallel} chips"
            there = self.system.dram_gib_per_chip
            return f"does not fit: {chips} of {there} GiB would hold {gib(self.needed.total)} GiB"
        if self.tensor_parallel == 1:
            where = f"fits one {chip}"
        else:
            where = f"needs {self.tensor_parallel} chips in tensor parallel"
        many = "one copy" if self.copies == 1 else f"{self.copies} copies (data parallel)"
        padding = ""
        if self.padded_heads != self.size.heads:
            padding = f"; {self.size.heads} heads padded to {self.padded_heads}"
        room = f"room for {self.more_tokens:,} more tokens of cache"
        return f"{where}, so {many}; {gib(self.left)} GiB of each chip left, {room}{padding}"


def plan(size: ModelSize, work: Workload, system: System, machines: int = 1) -> Plan:
    """The plan with the most copies, that is, with the fewest chips for each; a copy stays within one machine.

    A copy takes 1, 2, 4, … chips, as TT-NN's meshes split evenly. The chips of a card and of all cards of a system
    count alike: TT-Metal lays a mesh of one row along any path of Ethernet links.
    """
    capacity = system.dram_gib_per_chip * GIB
    degrees = [degree for degree in (1, 2, 4, 8, 16, 32) if degree <= min(system.chips, size.heads)]
    footprints = {degree: footprint(size, work, degree) for degree in degrees}
    degree = next((it for it in degrees if footprints[it].total <= capacity), degrees[-1])
    needed = footprints[degree]
    left = capacity - needed.total
    fits = left >= 0
    return Plan(
        size=size,
        work=work,
        system=system,
        machines=machines,
        fits=fits,
        tensor_parallel=degree,
        copies=machines * (system.chips // degree) if fits else 0,
        needed=needed,
        left=left,
        more_tokens=max(0, int(left / cache_bytes_per_token(size, work, degree))),
        padded_heads=-(-size.heads // degree) * degree,
    )


def gib(size: float) -> str:
    """Bytes as GiB with one decimal; two below 1."""
    value = size / GIB
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
