"""Tenstorrent's boards, as cluster descriptors tell them apart.

How many Tensix rows (Wormhole) or columns (Blackhole), DRAM banks and ethernet cores of a chip are fused off is what
tt-umd expects of each board type (`expected_tensix_harvested_units_map` and its neighbours in
`cluster_descriptor_types.hpp`, public repository tenstorrent/tt-umd), with one exception. An n300's chips lack two rows
and leave dispatching to ethernet cores, so that 8x8 workers remain; the mock cluster dispatches from workers and would
have 8x7 (measured: "node (1,7) is out of bounds. The compute worker grid on this device is 8x7"). Its chips lack one
row here, which makes the worker grid that of the hardware.

With TT-Metal's default dispatch cores, worker grids are 8x8 on n150, n300 and T3000, 8x9 on a Wormhole Galaxy, 11x10 on
p100, p150 and p300 and 12x10 on a Blackhole Galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ttbringup.targets.systems import BLACKHOLE, WORMHOLE

NORTH, SOUTH, WEST, EAST = range(4)

Channels = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Ethernet channels towards the neighbour in the north, south, west and east."""

_NONE: Channels = ((), (), (), ())
_FOUR_EACH: Channels = ((4, 5, 6, 7), (8, 9, 10, 11), (0, 1, 2, 3), (12, 13, 14, 15))
_TWO_EACH: Channels = ((8, 9), (10, 11), (6, 7), (4, 5))


@dataclass(frozen=True)
class Board:
    """What a board type means for its chips.

    Attributes:
        code: the part of a board's serial number (bits 36 to 55) from which tt-umd tells its type (`board_upi_map`).
        chips: how many chips it carries.
        harvest_mask: Tensix rows or columns that are fused off.
        channels: which ethernet channels lead where, unless that differs between its chips.
        dram_harvesting_mask: DRAM banks that are fused off.
        eth_harvesting_mask: ethernet cores that are.
    """

    code: int
    chips: int
    harvest_mask: int
    channels: Channels = _NONE
    dram_harvesting_mask: int = 0
    eth_harvesting_mask: int = 0


_TWO_OF_14 = 0b1_0010_0000
_ALL_14 = 0x3FFF

BOARDS = {
    "n150": Board(0x18, 1, 0b100_0000, _FOUR_EACH),
    "n300": Board(0x14, 2, 0b100_0000),
    "ubb": Board(0x35, 8, 0, _FOUR_EACH),
    "p100": Board(0x43, 1, 0b1100_0000, dram_harvesting_mask=0b1000, eth_harvesting_mask=_ALL_14),
    "p150": Board(0x40, 1, 0b1100_0000, _TWO_EACH, eth_harvesting_mask=_TWO_OF_14),
    "p300": Board(0x44, 2, 0b1100_0000, _TWO_EACH, eth_harvesting_mask=_TWO_OF_14),
    "ubb_blackhole": Board(0x47, 8, 0b1000_0000, _TWO_EACH, eth_harvesting_mask=_TWO_OF_14),
}
"""By the names tt-umd reads in a cluster descriptor."""

_N300_INSIDE = ((8, 9), (0, 1))
_N300_OUTSIDE: tuple[Channels, Channels] = (
    ((14, 15), (14, 15), (6, 7), (6, 7)),
    ((6, 7), (6, 7), (), ()),
)


def n300_channels(place: int, side: int, *, same_board: bool) -> tuple[int, ...]:
    """The channels of an n300's first or second chip towards its partner or a neighbour on another board."""
    return _N300_INSIDE[place] if same_board else _N300_OUTSIDE[place][side]


_TRAY_BUSES = {WORMHOLE: (0xC0, 0x80, 0x00, 0x40), BLACKHOLE: (0x00, 0x40, 0xC0, 0x80)}


def galaxy_bus(arch: str, tray: int, place: int) -> int:
    """The PCI bus of chip `place` (1 to 8) in a Galaxy's tray 0 to 3, as TT-Metal numbers them (`ubb_bus_ids`)."""
    return _TRAY_BUSES[arch][tray] + place
