"""What executes TT-NN: `emulated`, `silicon` or `simulator`, each behind the one small `Target` protocol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_ttbringup.targets import emulated, silicon, simulator
from pytest_ttbringup.targets.base import Target
from pytest_ttbringup.targets.systems import CUSTOM, WORMHOLE, System, system_holding, system_of

if TYPE_CHECKING:
    from pytest_ttbringup.options import Settings

__all__ = ["TARGET_NAMES", "System", "Target", "default_system", "default_target", "system_of", "target_for"]

TARGET_NAMES = (emulated.NAME, silicon.NAME, simulator.NAME)


def target_for(settings: Settings) -> Target:
    """The target these settings ask for; nothing is set up or opened yet."""
    common = (system_of(settings.system), settings.mesh, settings.cache_dir)
    if settings.target == emulated.NAME:
        return emulated.EmulatedTarget(*common, settings.numerics)
    return {silicon.NAME: silicon.SiliconTarget, simulator.NAME: simulator.SimulatorTarget}[settings.target](*common)


def default_target() -> tuple[str, str]:
    """The target when nobody names one, and why, as the report header says it."""
    if os.environ.get("TT_METAL_SIMULATOR"):
        return simulator.NAME, "TT_METAL_SIMULATOR is set"
    devices = silicon.devices_present()
    if not devices:
        return emulated.NAME, "no Tenstorrent device found"
    count = "1 Tenstorrent device" if len(devices) == 1 else f"{len(devices)} Tenstorrent devices"
    return silicon.NAME, f"{count} found"


def default_system(target: str, mesh: tuple[int, int] | None = None) -> System:
    """The system when nobody names one: what the silicon or simulator target finds, for emulation the smallest that
    one can buy that holds the mesh asked for; n150 if there is none, or none is asked for.

    Raises:
        BringupError: the target can't run here, or what it finds is no known system.
    """
    if target == silicon.NAME:
        return silicon.system_present()
    if target == simulator.NAME:
        return simulator.system_simulated()
    holding = system_holding(mesh, arch=WORMHOLE) if mesh else None
    return system_of("n150") if holding is None or holding.name == CUSTOM else holding
