"""The protocol every target follows, and what all of them share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Protocol

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.systems import System


class Target(Protocol):
    """What executes TT-NN in this run."""

    name: str

    def prepare(self) -> None:
        """Set what this process needs before `ttnn` is imported.

        Raises:
            BringupError: the target can't run here, or `ttnn` was imported already.
        """

    def worker_environments(self, workers: int) -> list[dict[str, str]]:
        """The variables each of so many pytest-xdist workers starts with, so that none uses what another does.

        Raises:
            BringupError: there is not enough for so many.
        """

    def install(self) -> None:
        """Finish the set-up once `ttnn` may be imported; calling it again does nothing."""

    def open_mesh(self, rows: int, cols: int, **device_params: Any) -> Any:
        """Open a `ttnn.MeshDevice` of this shape with the keyword arguments of `ttnn.open_mesh_device`, and
        `fabric_config`: a `ttnn.FabricConfig`, True for FABRIC_1D, or None or False for none; with one also
        `reliability_mode`, `fabric_tensix_config`, `fabric_manager` and `fabric_router_config`, as TT-Metal's tests
        name the further arguments of `ttnn.set_fabric_config`.
        """

    def close_mesh(self, mesh: Any) -> None:
        """Close a mesh that `open_mesh` gave, and its submeshes, and turn its fabric off."""

    def start_test(self, mesh: Any) -> None:
        """A test takes over an open mesh."""

    def end_test(self, mesh: Any) -> tuple[bool, list[dict[str, Any]]]:
        """A test hands an open mesh back: whether the next can use it, and the memory each device used at most.

        A device's use is a dictionary with `device` and, of each kind of memory measured (`dram`, `l1`), the bytes of
        one bank used at most, by tensors' buffers alone, available, and the number of banks:
        `{"peak": …, "buffers": …, "size": …, "banks": …}`. The peak includes what operations take while they run, in
        L1 programs' circular buffers above all. Of a mesh device it is that of each of its chips; a submesh has an
        allocator and a dictionary of its own.
        """

    def header(self) -> str:
        """The target in a few words, for the report header."""

    def arithmetic(self) -> str:
        """How values are computed: the emulated target's numerics, or empty where a device or simulator does it."""


_FABRIC_KEYWORDS = {
    "reliability_mode": "reliability_mode",
    "fabric_tensix_config": "fabric_tensix_config",
    "fabric_manager": "fabric_manager_mode",
    "fabric_router_config": "router_config",
}
"""TT-Metal's `device_params`, and the parameters of `ttnn.set_fabric_config` they stand for."""


class TTNNTarget:
    """The common part: a target on which TT-NN opens and closes meshes itself."""

    name: str

    def __init__(self, system: System, mesh: tuple[int, int], cache_dir: Path) -> None:
        self.system = system
        self.mesh = mesh
        self.cache_dir = cache_dir
        self._fabric_on = False

    def prepare(self) -> None:
        if "ttnn" in sys.modules:
            raise BringupError(
                f"ttnn was imported before the {self.name} target was set up, and TT-NN chooses its devices at import. "
                "Import ttnn in test modules and conftest.py files, not in a plugin that pytest loads before them. "
                "In a checkout that is not installed, name this one: pytest -p pytest_ttbringup.plugin."
            )
        quiet_logs(self.cache_dir / "logs")
        share_cores()

    def worker_environments(self, workers: int) -> list[dict[str, str]]:
        return [{} for _ in range(workers)]

    def install(self) -> None:
        pass

    def open_mesh(self, rows: int, cols: int, *, fabric_config: Any = None, **device_params: Any) -> Any:
        import ttnn

        details = {new: device_params.pop(old) for old, new in _FABRIC_KEYWORDS.items() if old in device_params}
        if fabric_config:
            # TT-Metal's tests write True for "whatever fabric suits", which on every system is FABRIC_1D.
            fabric = ttnn.FabricConfig.FABRIC_1D if fabric_config is True else fabric_config
            ttnn.set_fabric_config(fabric, **{name: it for name, it in details.items() if it is not None})
            self._fabric_on = True
        try:
            return ttnn.open_mesh_device(ttnn.MeshShape(rows, cols), **device_params)
        except BaseException:
            self._disable_fabric()
            raise

    def close_mesh(self, mesh: Any) -> None:
        import ttnn

        submeshes = mesh.get_submeshes()
        if submeshes:
            # TT-Metal closes neither a mesh nor its submeshes while both have queues that were used.
            self._quiesce(mesh)
            for submesh in submeshes:
                ttnn.close_mesh_device(submesh)
        ttnn.close_mesh_device(mesh)
        self._disable_fabric()

    def _quiesce(self, mesh: Any) -> None:
        mesh.quiesce_devices()

    def _disable_fabric(self) -> None:
        if self._fabric_on:
            import ttnn

            self._fabric_on = False
            ttnn.set_fabric_config(ttnn.FabricConfig.DISABLED)

    def start_test(self, mesh: Any) -> None:
        pass

    def end_test(self, mesh: Any) -> tuple[bool, list[dict[str, Any]]]:  # noqa: ARG002
        return True, []

    def arithmetic(self) -> str:
        return ""

    def header(self) -> str:
        rows, cols = self.mesh
        return f"{self.name} ({self.system.arch}, {self.system.name}, mesh {rows}x{cols})"


def worker_id() -> str:
    """This pytest-xdist worker's name (`gw0`, …), or `main`."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def quiet_logs(log_dir: Path) -> None:
    """Keep TT-Metal's and TT-NN's log lines out of the terminal, and their files out of the working directory.

    A variable the user set is left alone.
    """
    os.environ.setdefault("TT_LOGGER_LEVEL", "error")  # TT-Metal narrates every device it opens
    os.environ.setdefault("LOGURU_LEVEL", "WARNING")  # TT-NN prints its whole configuration at import, at debug level
    os.environ.setdefault("TT_METAL_LOGS_PATH", str(log_dir))  # else a folder `generated` appears where pytest runs


def share_cores() -> None:
    """Let PyTorch's threads on the CPU get along with others on a busy machine. A variable the user set is left alone.

    Its threads spin while they wait, and keep the cores from those they wait for: with four other processes on two
    cores a decode step of SmolLM2 took 15 s, and 0.7 to 1.8 s with threads that sleep. And each pytest-xdist worker
    would start one thread for every core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "")
    if workers.isdigit():
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
