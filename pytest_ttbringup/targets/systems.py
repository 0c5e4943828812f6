"""The machines a model can be brought up for.

Sources. Memory and bandwidth: Tenstorrent's specifications of the Wormhole n150/n300 and Blackhole p100a/p150a cards
(docs.tenstorrent.com, "Specifications/Requirements" of each), whose GDDR6 runs at 12 and 16 GT/s. A p300 has two
Blackhole chips with the memory of a p150 each, and a Blackhole Galaxy 32 of them (1 TB, 16 TB/s); a Wormhole Galaxy
has 32 chips with the memory of an n150 each. Mesh shapes: the mesh graph descriptors in the TT-NN wheel
(`tt_metal/fabric/mesh_graph_descriptors`). Board types: the names tt-umd reads in a cluster descriptor.

Which of them the emulated target can stand for is for `pytest_ttbringup.emulation` to say; it refuses the others by
name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from pytest_ttbringup.errors import BringupError

WORMHOLE = "wormhole_b0"
BLACKHOLE = "blackhole"
CUSTOM = "custom"


@dataclass(frozen=True)
class System:
    """A named machine.

    Attributes:
        name: as `--tt-system` takes it.
        arch: `wormhole_b0` or `blackhole`, as TT-Metal spells it.
        board: the board type of its chips in a cluster descriptor.
        boards: how many such boards it holds.
        chips: how many chips it has in all.
        mesh: its natural mesh shape (rows, columns).
        dram_gib_per_chip: GDDR6 per chip, in GiB (Wormhole: 12 banks of 1 GiB; Blackhole: 7 or 8 of 4 GiB).
        dram_bandwidth_gb_s: GDDR6 bandwidth per chip, in 10**9 bytes per second.
        description: one line for people.
        aliases: other names people use for it.
    """

    name: str
    arch: str
    board: str
    boards: int
    chips: int
    mesh: tuple[int, int]
    dram_gib_per_chip: int
    dram_bandwidth_gb_s: int
    description: str
    aliases: tuple[str, ...] = ()

    def holds(self, mesh: tuple[int, int]) -> bool:
        """Whether TT-Metal opens a mesh of this shape on it.

        TT-Metal places a mesh with several rows and columns as part of the system's own grid, upright or turned, and
        lays one of a single row or column along a path through it (its `SystemMesh`; measured with ttnn 0.81.1).
        """
        rows, cols = mesh
        if rows * cols > self.chips:
            return False
        if self.name == CUSTOM or 1 in mesh:
            return True
        grid_rows, grid_cols = self.mesh
        return (rows <= grid_rows and cols <= grid_cols) or (rows <= grid_cols and cols <= grid_rows)


SYSTEMS: tuple[System, ...] = (
    System("n150", WORMHOLE, "n150", 1, 1, (1, 1), 12, 288, "one Wormhole card with one chip"),
    System("n300", WORMHOLE, "n300", 1, 2, (1, 2), 12, 288, "one Wormhole card with two chips"),
    System("t3000", WORMHOLE, "n300", 4, 8, (2, 4), 12, 288, "TT-LoudBox: four n300 cards", aliases=("loudbox", "t3k")),
    System("quietbox", WORMHOLE, "n300", 4, 8, (2, 4), 12, 288, "TT-QuietBox (Wormhole): four n300 cards"),
    System("galaxy", WORMHOLE, "ubb", 4, 32, (8, 4), 12, 288, "Wormhole Galaxy server: 32 chips"),
    System("p100", BLACKHOLE, "p100", 1, 1, (1, 1), 28, 448, "one Blackhole card with 28 GB"),
    System("p150", BLACKHOLE, "p150", 1, 1, (1, 1), 32, 512, "one Blackhole card with 32 GB"),
    System("p150x4", BLACKHOLE, "p150", 4, 4, (2, 2), 32, 512, "four p150 cards, as in a TT-QuietBox (Blackhole)"),
    System("p150x8", BLACKHOLE, "p150", 8, 8, (2, 4), 32, 512, "eight p150 cards"),
    System("p300", BLACKHOLE, "p300", 1, 2, (1, 2), 32, 512, "one Blackhole card with two chips"),
    System("bh-galaxy", BLACKHOLE, "ubb_blackhole", 4, 32, (8, 4), 32, 512, "Blackhole Galaxy server: 32 chips"),
    # No machine one can buy: chips of an n150, cabled to the mesh asked for. Last, so that a real one is preferred.
    System(CUSTOM, WORMHOLE, "n150", 32, 32, (1, 1), 12, 288, "up to 32 Wormhole chips, cabled as the mesh asked for"),
)


def system_of(name: str) -> System:
    """The system of this name or alias, in any case.

    Raises:
        BringupError: there is none; the message lists the legal names and suggests the nearest.
    """
    wanted = name.lower()
    for system in SYSTEMS:
        if wanted == system.name or wanted in system.aliases:
            return system
    near = difflib.get_close_matches(wanted, [n for system in SYSTEMS for n in (system.name, *system.aliases)], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    legal = ", ".join(" = ".join((system.name, *system.aliases)) for system in SYSTEMS)
    raise BringupError(f"no system is called {name!r}.{hint} The systems: {legal}.")


def system_holding(mesh: tuple[int, int], *, arch: str) -> System | None:
    """The smallest system of this architecture with chips enough for the mesh; None when there is none."""
    holding = [system for system in SYSTEMS if system.arch == arch and system.holds(mesh)]
    return min(holding, key=lambda system: system.chips, default=None)
