"""Cluster descriptors: the small YAML files from which TT-Metal's mock cluster learns which chips exist.

The field names are those that tt-umd reads (`tt_cluster_descriptor`, public repository tenstorrent/tt-umd). Chips stand
on a grid, that of the system or, for `custom`, of the mesh asked for, and every two neighbours are cabled. TT-Metal
finds the mesh in the cabling by itself, by the mesh graph descriptor it has for the system or that of `mesh_graph.py`;
which ethernet channels join two chips does not matter to it.

What TT-Metal 0.81.1 does with a descriptor (measured):

- A board id whose type code contradicts the board type is refused. The board type and the number of chips make the
  cluster type; a T3000 is one only if every first chip of an n300 has three neighbours and every second two.
- An n300's second chip is reached through its first, which alone has PCI Express, and needs ethernet coordinates.
- With `chip_to_bus_id`, all boards but those of a Galaxy fall into one tray and their chips are taken for one. A
  Galaxy's chips are told apart by it alone: the high digit names the tray, the low one the chip in the tray.
- FABRIC_1D_RING opens a Galaxy as 8x4 only if its rows and columns close to rings; without, as 32x1.
- A Wormhole mesh graph may not have two odd sides, unless both are 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_ttbringup.emulation.boards import BOARDS, EAST, NORTH, SOUTH, WEST, galaxy_bus, n300_channels
from pytest_ttbringup.targets.systems import BLACKHOLE, CUSTOM, System

Shape = tuple[int, int]
Cell = tuple[int, int]


@dataclass(frozen=True)
class Chip:
    """A chip on the grid.

    Attributes:
        number: as TT-Metal counts chips; those on PCI Express come first.
        cell: its row and column on the grid.
        board: the number of its board.
        place: its place on the board.
        remote: whether it is reached through another chip.
    """

    number: int
    cell: Cell
    board: int
    place: int
    remote: bool = False


@dataclass(frozen=True)
class Cluster:
    """A system's chips on their grid, by cell."""

    system: System
    grid: Shape
    chips: dict[Cell, Chip]

    @property
    def is_galaxy(self) -> bool:
        """Whether it is a server of four trays, whose rows and columns are rings."""
        return self.system.board in ("ubb", "ubb_blackhole")


def cluster_of(system: System, mesh: Shape) -> Cluster:
    """The chips of `system`; `mesh`, the mesh asked for, decides the grid of the system `custom` and nothing else."""
    grid = _custom_grid(mesh) if system.name == CUSTOM else system.mesh
    cells = [(row, col) for row in range(grid[0]) for col in range(grid[1])]
    if system.board == "n300":
        chips = [_n300_chip(number, cell, len(cells)) for number, cell in enumerate(cells)]
    elif system.board in ("ubb", "ubb_blackhole"):
        chips = [_galaxy_chip(number, cell) for number, cell in enumerate(cells)]
    else:
        size = BOARDS[system.board].chips
        chips = [Chip(number, cell, number // size, number % size) for number, cell in enumerate(cells)]
    return Cluster(system, grid, {chip.cell: chip for chip in chips})


def cluster_descriptor(cluster: Cluster) -> dict[str, Any]:
    """What `tt_cluster_descriptor` should say of a cluster, ready for `yaml.safe_dump`."""
    system = cluster.system
    chips = sorted(cluster.chips.values(), key=lambda chip: chip.number)
    boards: dict[int, list[int]] = {}
    for chip in chips:
        boards.setdefault(chip.board, []).append(chip.number)
    with_coordinates = chips if system.board in ("n150", "n300") else []
    return {
        "arch": {chip.number: system.arch for chip in chips},
        "chips": {chip.number: [chip.cell[1], chip.cell[0], 0, 0] for chip in with_coordinates},
        "chip_unique_ids": {chip.number: chip.number + 1 for chip in chips},
        "ethernet_connections": [
            [{"chip": one, "chan": channel}, {"chip": other, "chan": other_channel}]
            for one, channel, other, other_channel in _links(cluster)
        ],
        "ethernet_connections_to_remote_devices": [],
        "chips_with_mmio": [{chip.number: chip.number} for chip in chips if not chip.remote],
        "io_device_type": "PCIe",
        "harvesting": {chip.number: _harvesting(system, chip) for chip in chips},
        "chip_to_bus_id": {
            chip.number: f"{galaxy_bus(system.arch, chip.board, chip.place):#06x}"
            for chip in (chips if cluster.is_galaxy else [])
        },
        "boards": [
            [
                {"board_id": (BOARDS[system.board].code << 36) + board + 1},
                {"board_type": system.board},
                {"chips": numbers},
            ]
            for board, numbers in boards.items()
        ],
        "asic_locations": {chip.number: chip.place for chip in chips},
    }


def _custom_grid(mesh: Shape) -> Shape:
    """The mesh, or the smallest larger grid that TT-Metal takes for Wormhole chips; the rest of it stays idle."""
    rows, cols = mesh
    if rows % 2 == 0 or cols % 2 == 0 or rows == cols == 1:
        return mesh
    return (rows, cols + 1) if rows <= cols else (rows + 1, cols)


def _n300_chip(index: int, cell: Cell, count: int) -> Chip:
    """Boards lie along the rows; in a T3000 their first chips face each other in the middle columns."""
    board = index // 2
    remote = cell[1] % 4 in (0, 3) if count > 2 else cell[1] == 1
    return Chip(board + (count // 2 if remote else 0), cell, board, int(remote), remote)


def _galaxy_chip(number: int, cell: Cell) -> Chip:
    """Four trays of 4x2 chips, turned so that chip 1 of each lies in a corner of the grid and chip 5 beside it."""
    row, col = cell
    tray = {(0, 0): 0, (1, 1): 1, (0, 1): 2, (1, 0): 3}[row // 4, col // 2]
    down, inward = (row if row < 4 else 7 - row), (col if col < 2 else 3 - col)
    return Chip(number, cell, tray, 1 + down + 4 * inward)


def _links(cluster: Cluster) -> Iterator[tuple[int, int, int, int]]:
    """Every ethernet link: chip and channel, chip and channel."""
    rows, cols = cluster.grid
    for (row, col), chip in cluster.chips.items():
        for (down, right), side, facing in (((0, 1), EAST, WEST), ((1, 0), SOUTH, NORTH)):
            neighbour = (row + down, col + right)
            if cluster.is_galaxy:
                neighbour = (neighbour[0] % rows, neighbour[1] % cols)
            other = cluster.chips.get(neighbour)
            if other is not None:
                here, there = _channels(cluster, chip, other, side), _channels(cluster, other, chip, facing)
                for channel, other_channel in zip(here, there, strict=True):
                    yield chip.number, channel, other.number, other_channel


def _channels(cluster: Cluster, chip: Chip, other: Chip, side: int) -> tuple[int, ...]:
    """The channels with which a chip faces its neighbour on a side."""
    if cluster.system.board == "n300":
        return n300_channels(chip.place, side, same_board=chip.board == other.board)
    return BOARDS[cluster.system.board].channels[side]


def _harvesting(system: System, chip: Chip) -> dict[str, int | bool]:
    board = BOARDS[system.board]
    pcie = 0
    if system.arch == BLACKHOLE:  # two PCI Express cores, one in use: the first on a p300's second chip
        pcie = 0b01 if system.board == "p300" and chip.place == 1 else 0b10
    return {
        "noc_translation": True,
        "harvest_mask": board.harvest_mask,
        "dram_harvesting_mask": board.dram_harvesting_mask,
        "eth_harvesting_mask": board.eth_harvesting_mask,
        "pcie_harvesting_mask": pcie,
        "l2cpu_harvesting_mask": 0,
    }
