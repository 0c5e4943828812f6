"""The simulator target: ttsim, Tenstorrent's simulator of one chip, which runs the real kernels.

As its README says (tenstorrent/ttsim): `TT_METAL_SIMULATOR` names the library, `soc_descriptor.yaml` lies beside it,
and TT-Metal must use slow dispatch and no SFPLOADMACRO. The kernels need Tenstorrent's compiler (sfpi), which
TT-Metal looks for below its runtime root and in `/opt/tenstorrent/sfpi`.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.base import TTNNTarget
from pytest_ttbringup.targets.systems import BLACKHOLE, WORMHOLE, System, system_of

NAME = "simulator"

SYSTEM_COMPILER = Path("/opt/tenstorrent/sfpi")

_SOC_FILES = {WORMHOLE: "wormhole_b0_80_arch.yaml", BLACKHOLE: "blackhole_140_arch.yaml"}
_DEFAULT_SYSTEMS = {WORMHOLE: "n150", BLACKHOLE: "p150"}


class SimulatorTarget(TTNNTarget):
    """TT-NN on ttsim."""

    name = NAME

    def prepare(self) -> None:
        simulated = architecture()
        if simulated != self.system.arch:
            raise BringupError(
                f"the simulator stands for {simulated}, but system {self.system.name!r} is {self.system.arch}. "
                f"Use --tt-system={_DEFAULT_SYSTEMS[simulated]}, or point TT_METAL_SIMULATOR at the other library."
            )
        require_compiler()
        super().prepare()
        os.environ["TT_METAL_SLOW_DISPATCH_MODE"] = "1"
        os.environ.setdefault("TT_METAL_DISABLE_SFPLOADMACRO", "1")


def library() -> Path:
    """The simulator's library.

    Raises:
        BringupError: `TT_METAL_SIMULATOR` is unset or names no `.so` file.
    """
    value = os.environ.get("TT_METAL_SIMULATOR", "")
    how = "Point it at ttsim's library, for instance ~/sim/libttsim_wh.so, or use --tt-target=emulated."
    if not value:
        raise BringupError(f"the simulator target was asked for, but TT_METAL_SIMULATOR is not set. {how}")
    path = Path(value)
    if path.suffix != ".so" or not path.is_file():
        raise BringupError(f"TT_METAL_SIMULATOR is {value!r}, which is no shared library (.so) in this machine. {how}")
    return path


def architecture() -> str:
    """The architecture the simulator stands for, as its SoC descriptor says.

    Raises:
        BringupError: the library or its SoC descriptor is missing, or the descriptor names no known architecture.
    """
    descriptor = library().parent / "soc_descriptor.yaml"
    sources = " or ".join(_SOC_FILES.values())
    if not descriptor.is_file():
        raise BringupError(
            f"the simulator needs a SoC descriptor beside its library, but there is no {str(descriptor)!r}. "
            f"Copy {sources} from tt_metal/soc_descriptors in the ttnn package there, under that name."
        )
    found = re.search(r"^arch_name:\s*(\w+)", descriptor.read_text(errors="replace"), re.MULTILINE)
    arch = found[1].lower() if found else "none"
    if arch not in _SOC_FILES:
        raise BringupError(
            f"{str(descriptor)!r} names the architecture {arch!r}; expected {WORMHOLE} or {BLACKHOLE}. "
            f"Copy {sources} from tt_metal/soc_descriptors in the ttnn package there."
        )
    return arch


def system_simulated() -> System:
    """The one-chip system of the simulator's architecture.

    Raises:
        BringupError: as `architecture`.
    """
    return system_of(_DEFAULT_SYSTEMS[architecture()])


def require_compiler() -> Path:
    """Tenstorrent's kernel compiler.

    Raises:
        BringupError: it is in none of the places where TT-Metal looks.
    """
    places = [root / "runtime" / "sfpi" for root in (_runtime_root(),) if root] + [SYSTEM_COMPILER]
    for place in places:
        compiler = place / "compiler" / "bin" / "riscv-tt-elf-g++"
        if compiler.is_file():
            return compiler
    raise BringupError(
        "the simulator runs real kernels and needs Tenstorrent's compiler, but there is no "
        f"compiler/bin/riscv-tt-elf-g++ in {' or '.join(repr(str(place)) for place in places)}. Install a release of "
        "tenstorrent/sfpi in one of them, or point TT_METAL_RUNTIME_ROOT at a TT-Metal that has it."
    )


def _runtime_root() -> Path | None:
    if root := os.environ.get("TT_METAL_RUNTIME_ROOT"):
        return Path(root)
    found = importlib.util.find_spec("ttnn")
    return Path(found.origin).parent if found and found.origin else None
