"""Cluster descriptors: the small YAML files from which TT-Metal's mock cluster learns which chips exist.

The field names are those that tt-umd reads (`tt_cluster_descriptor`, public repository tenstorrent/tt-umd).
"""

from __future__ import annotations

from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.systems import System

_ARCHITECTURE_FIELDS: dict[str, dict[str, int]] = {
    # One harvested Tensix row per Wormhole chip leaves the 8x8 worker grid that n150 and the default dispatch cores
    # expect; with two, TT-Metal refuses the worker grid of its own defaults (measured with ttnn 0.81.1).
    "wormhole_b0": {"harvest_mask": 0b1000000, "eth_harvesting_mask": 0, "pcie_harvesting_mask": 0},
    # Blackhole boards harvest Tensix columns; the ethernet and PCIe masks are those of a p150 as tt-umd lists it.
    "blackhole": {"harvest_mask": 0b11000000, "eth_harvesting_mask": 0b100100000, "pcie_harvesting_mask": 0b10},
}

_BOARD_CODES = {"n150": 0x18, "p100": 0x43, "p150": 0x40}
"""The part of a board's serial number (bits 36 to 55) from which tt-umd tells its type
(`get_board_type_from_board_id`)."""


def cluster_descriptor(system: System) -> dict[str, Any]:
    """What `tt_cluster_descriptor` should say of `system`, ready for `yaml.safe_dump`.

    Raises:
        BringupError: the system has more than one chip, which the emulated target does not cable up yet.
    """
    if system.board not in _BOARD_CODES or system.chips != 1:
        raise BringupError(
            f"system {system.name!r} has {system.chips} chips; the emulated target stands for one chip so far. "
            "Use --tt-system=n150 (or p100, p150), or run on the machine itself with --tt-target=silicon."
        )
    return {
        "arch": {0: system.arch},
        "chips": {0: [0, 0, 0, 0]} if system.arch == "wormhole_b0" else {},
        "chip_unique_ids": {0: 1},
        "ethernet_connections": [],
        "ethernet_connections_to_remote_devices": [],
        "chips_with_mmio": [{0: 0}],
        "harvesting": {
            0: {"noc_translation": True, "dram_harvesting_mask": 0, "l2cpu_harvesting_mask": 0}
            | _ARCHITECTURE_FIELDS[system.arch]
        },
        "boards": [[{"board_id": _BOARD_CODES[system.board] << 36}, {"board_type": system.board}, {"chips": [0]}]],
    }
