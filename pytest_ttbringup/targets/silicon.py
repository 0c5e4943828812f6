"""The silicon target: Tenstorrent devices in this machine, reached through their kernel driver."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.base import TTNNTarget
from pytest_ttbringup.targets.device_sharing import worker_environments
from pytest_ttbringup.targets.systems import SYSTEMS, System

NAME = "silicon"

DEVICE_FOLDER = Path("/dev/tenstorrent")
"""Where the kernel driver (tt-kmd) puts one numbered node per PCI Express device."""

CARD_FOLDER = Path("/sys/class/tenstorrent")
"""Where the driver says what each device is: `tenstorrent!0/tt_card_type` holds for instance `n300`."""


class SiliconTarget(TTNNTarget):
    """TT-NN on devices; it runs or fails, and never skips for want of one."""

    name = NAME

    def prepare(self) -> None:
        require_devices()
        if "TT_METAL_MOCK_CLUSTER_DESC_PATH" in os.environ or "TT_METAL_SIMULATOR" in os.environ:
            raise BringupError(
                "the silicon target was asked for, but TT_METAL_MOCK_CLUSTER_DESC_PATH or TT_METAL_SIMULATOR is set, "
                "which makes TT-Metal pass the devices by. Unset them, or use --tt-target=emulated or simulator."
            )
        super().prepare()

    def worker_environments(self, workers: int) -> list[dict[str, str]]:
        return worker_environments(self.system, self.mesh, len(require_devices()), workers, self.cache_dir)


def devices_present(folder: Path | None = None) -> list[str]:
    """The numbers of the device nodes, in order; empty when there is no driver or no device."""
    folder = folder or DEVICE_FOLDER
    if not folder.is_dir():
        return []
    return sorted((entry.name for entry in folder.iterdir() if entry.name.isdigit()), key=int)


def require_devices() -> list[str]:
    """The device nodes.

    Raises:
        BringupError: there is none.
    """
    devices = devices_present()
    if not devices:
        raise BringupError(
            f"the silicon target was asked for, but no Tenstorrent device is present: looked for {DEVICE_FOLDER}/0, … "
            "Check with tt-smi that the card is seated and the driver (tt-kmd) is loaded, or use --tt-target=emulated."
        )
    return devices


def system_present() -> System:
    """The system in this machine, by the driver's card types.

    Raises:
        BringupError: there is no device, or the cards form no known system.
    """
    cards = [_card_type(number) for number in require_devices()]
    boards = {card[0] for card in map(_BOARD.match, cards) if card}
    if len(boards) == 1:
        board = boards.pop()
        for system in SYSTEMS:
            # A Blackhole p300 shows each of its two chips on PCI Express, all other boards show one device.
            if system.board == board and len(cards) in {
                system.boards,
                system.chips if board == "p300" else system.boards,
            }:
                return system
    raise BringupError(
        f"can't tell which system this is: the driver reports {len(cards)} device(s) of type {', '.join(cards)}. "
        f"Name it with --tt-system: {', '.join(system.name for system in SYSTEMS)}."
    )


_BOARD = re.compile(r"[np]\d+")  # `p150a`, `n300s`: the letter tells how the card is cooled


def _card_type(number: str) -> str:
    try:
        return (CARD_FOLDER / f"tenstorrent!{number}" / "tt_card_type").read_text().strip()
    except OSError:
        return "unknown"
