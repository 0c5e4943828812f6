"""What the chips of a system can do at best, by their published specifications.

Sources, all Tenstorrent's own:

- Tensix cores, clock, memory bandwidth. Wormhole: "Specifications/Requirements" of the Wormhole cards
  (docs.tenstorrent.com, aibs/wormhole/specifications): n150 72 cores, n300 64 per chip, 1 GHz, 288 GB/s per chip.
  A LoudBox (T3000) and a Wormhole QuietBox are four n300. Blackhole: aibs/blackhole/specifications: p100a 120 cores
  and 448 GB/s, p150 140 cores and 512 GB/s, up to 1.35 GHz. A p150 may run with 120 cores under later firmware; 140 is
  the most.
- The matrix unit: 8x16 times 16x16 each cycle, 4096 operations, divided by the phases of the math fidelity (TT-Metal,
  tech_reports/GEMM_FLOPS). That gives the cards' published figures: n150 147 (BFP8: 148) and 74 (FP16) TeraFLOPS.
- Ethernet: 100 Gbit/s a link and direction on Wormhole, 400 on Blackhole (TT-Metal,
  tech_reports/CCLs/CCL_bandwidth.md). Links between neighbours: `channels` of the mesh graph descriptors in TT-NN's
  wheel (`tt_metal/fabric/mesh_graph_descriptors`); that one of them may serve dispatch is left out.

No source was found for the cores and clocks of the chips in a Wormhole or Blackhole Galaxy and of a p300, so these
systems have no peaks here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.operations import PHASES
from pytest_ttbringup.targets.systems import System

MATRIX_UNIT = 2 * 8 * 16 * 16
"""Operations (a multiplication, an addition) of one core's matrix unit in a cycle, at LoFi."""


@dataclass(frozen=True)
class Peaks:
    """Of one chip.

    Attributes:
        cores: Tensix cores.
        clock_ghz: their clock.
        dram_gb_s: 10**9 bytes per second, reads and writes together.
        links: Ethernet links to each neighbour; 0 where there is none.
        link_gb_s: 10**9 bytes per second of one link in one direction.
    """

    cores: int
    clock_ghz: float
    dram_gb_s: float
    links: int = 0
    link_gb_s: float = 0.0

    def flops(self, fidelity: str) -> float:
        """Operations per second of all matrix units at a math fidelity; the fastest if it is not known."""
        return self.cores * MATRIX_UNIT * self.clock_ghz * 1e9 / PHASES.get(fidelity, 1)

    def ethernet(self, chips: int) -> float:
        """Bytes per second, at most, through the narrowest place of a collective of so many chips.

        Two chips have the links between them, and more are taken to form a ring, in which data leaves a chip both ways.
        """
        return self.links * self.link_gb_s * 1e9 * (1 if chips <= 2 else 2)


_CHIPS = {
    "n150": (72, 1.0, 0, 0.0),
    "n300": (64, 1.0, 2, 12.5),
    "t3000": (64, 1.0, 2, 12.5),
    "quietbox": (64, 1.0, 2, 12.5),
    "p100": (120, 1.35, 0, 0.0),
    "p150": (140, 1.35, 0, 0.0),
    "p150x4": (140, 1.35, 4, 50.0),
    "p150x8": (140, 1.35, 2, 50.0),
}
"""System: cores, clock, links to a neighbour, GB/s of a link."""


def peaks_of(system: System) -> Peaks:
    """The peaks of a chip of this system.

    Raises:
        BringupError: no published peaks are known.
    """
    if system.name not in _CHIPS:
        raise BringupError(
            f"--tt-system={system.name}: no published figures were found for its cores and their clock, and a bound "
            f"needs them. Known: {', '.join(_CHIPS)}."
        )
    cores, clock, links, link = _CHIPS[system.name]
    return Peaks(cores, clock, float(system.dram_bandwidth_gb_s), links, link)
