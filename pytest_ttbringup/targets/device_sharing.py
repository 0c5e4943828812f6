"""Disjoint devices for pytest-xdist's workers on the silicon target.

TT-Metal's driver library opens the devices that `TT_VISIBLE_DEVICES` names and no others. A number in it counts the PCI
Express devices present, from 0 and whatever their nodes in /dev/tenstorrent are called: in order of their PCI addresses
by the code (tt-umd, `PCIDevice::enumerate_devices`), of their nodes by its `docs/TT_VISIBLE_DEVICES.md`; as all numbers
are dealt out in one order, groups are disjoint in both. A chip without PCI Express, as an n300's second, comes with the
one beside it. The libraries of ttnn 0.81.1 know the variable and refuse numbers beyond the last device. Processes that
run at the same time also need a `TT_METAL_CACHE` each, or their kernels get in each other's way (tt-metal, "Running
Concurrent Processes On A Single Host" in its guide to meshes; pull request 31110).

So that TT-Metal knows by itself how a worker's chips are cabled, a worker is given whole boards, next to each other, as
TT-Metal's own tests divide a T3000 into "0,1" and "2,3" (`t3k_2x2_ttswitch_rank_bindings.yaml` in
`tests/tt_metal/distributed/config`), and 1, 2, 4 or 8 of them, the numbers it has mesh graph descriptors for
(`tt_metal/fabric/mesh_graph_descriptors` in the wheel). It has none for a part of a Galaxy.

Tested with device nodes that are only files: it has not run on a machine with devices yet.
"""

from __future__ import annotations

import os
from pathlib import Path

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.systems import System

VISIBLE = "TT_VISIBLE_DEVICES"

_CHOSEN_BY_USER = (VISIBLE, "TT_METAL_VISIBLE_DEVICES")
"""The second is TT-Metal's older one: chips of those tt-umd has opened."""


def device_groups(system: System, mesh: tuple[int, int], devices: int) -> list[str]:
    """The values of `TT_VISIBLE_DEVICES` that divide so many PCI Express devices into disjoint groups.

    Each group has chips enough for the mesh (rows, columns); devices left over are in none.
    """
    if _is_galaxy(system):
        size = max(devices, 1)
    else:
        chips_per_board = system.chips // system.boards
        # Of a p300 both chips are on PCI Express, of every other board one.
        devices_per_board = chips_per_board if system.board == "p300" else 1
        boards = -(-mesh[0] * mesh[1] // chips_per_board)
        size = devices_per_board * (1 << (boards - 1).bit_length())
    starts = range(0, devices - size + 1, size)
    return [",".join(str(number) for number in range(start, start + size)) for start in starts]


def worker_environments(
    system: System, mesh: tuple[int, int], devices: int, workers: int, cache_dir: Path
) -> list[dict[str, str]]:
    """The variables that keep so many workers apart: their devices, and folders for compiled kernels.

    A lone worker has all devices, as a run without workers has.

    Raises:
        BringupError: there are fewer groups of devices than workers, or the user chose the devices.
    """
    if workers < 2:
        return [{} for _ in range(workers)]
    for name in _CHOSEN_BY_USER:
        if name in os.environ:
            raise BringupError(
                f"{name} is {os.environ[name]!r}, and {workers} pytest-xdist workers would all open these devices. "
                "Unset it, and each worker is given devices of its own; or use -n 1."
            )
    groups = device_groups(system, mesh, devices)
    if workers > len(groups):
        raise BringupError(_too_many(system, mesh, devices, workers))
    kernels = Path(os.environ.get("TT_METAL_CACHE") or cache_dir / "silicon")
    return [
        # TT-Metal joins file names to the folder without a separator.
        {VISIBLE: group, "TT_METAL_CACHE": f"{kernels / ('devices-' + group.replace(',', '-'))}/"}
        for group in groups[:workers]
    ]


def _too_many(system: System, mesh: tuple[int, int], devices: int, workers: int) -> str:
    wanted = f"{workers} pytest-xdist workers need devices of their own"
    if _is_galaxy(system):
        return f"{wanted}, but TT-Metal knows no part of a Galaxy ({system.name}) as a machine. Use -n 1."
    groups = len(device_groups(system, mesh, devices))
    found = "1 PCI Express device is" if devices == 1 else f"{devices} PCI Express devices are"
    chips = system.chips // system.boards
    board = "1 chip" if chips == 1 else f"{chips} chips"
    smaller = ", or a smaller --tt-mesh" if workers <= len(device_groups(system, (1, 1), devices)) else ""
    return (
        f"{wanted}, but {found} present (system {system.name}, {board} to a board), enough for {groups} with a "
        f"{mesh[0]}x{mesh[1]} mesh each. Use -n {max(1, groups)} at most{smaller}."
    )


def _is_galaxy(system: System) -> bool:
    return system.board.startswith("ubb")
