"""The emulated target: the genuine TT-NN host stack on a mock cluster, values computed on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.base import TTNNTarget, worker_id
from pytest_ttbringup.targets.systems import System

NAME = "emulated"

NUMERICS = ("device", "exact", "bitexact")
"""Arithmetics that `emulation.arithmetic` knows."""

DEFAULT_NUMERICS = "device"


class EmulatedTarget(TTNNTarget):
    """TT-NN on the emulated device of `pytest_ttbringup.emulation`."""

    name = NAME

    def __init__(
        self, system: System, mesh: tuple[int, int], cache_dir: Path, numerics: str = DEFAULT_NUMERICS
    ) -> None:
        super().__init__(system, mesh, cache_dir)
        self.numerics = numerics
        self._opened: Any = None
        self._stuck: Any = None

    def prepare(self) -> None:
        from pytest_ttbringup.emulation import runtime

        super().prepare()
        runtime.prepare(system=self.system, mesh=self.mesh, cache_dir=self.cache_dir, worker_id=worker_id())

    def install(self) -> None:
        from pytest_ttbringup import emulation

        emulation.choose(self.numerics, self.cache_dir)
        emulation.install()

    def arithmetic(self) -> str:
        return self.numerics

    def open_mesh(self, rows: int, cols: int, **device_params: Any) -> Any:
        wanted = ((rows, cols), device_params)
        if self._stuck is None:
            mesh = super().open_mesh(rows, cols, **device_params)
            self._opened = wanted
            return mesh
        if wanted != self._opened:
            raise BringupError(
                f"can't open a {rows}x{cols} mesh: an earlier test used a mesh together with submeshes of it, and "
                "TT-Metal closes neither then on the emulated target. Run this test in a process of its own."
            )
        return self._stuck

    def start_test(self, mesh: Any) -> None:
        from pytest_ttbringup import emulation

        emulation.start_test(mesh)

    def end_test(self, mesh: Any) -> tuple[bool, list[dict[str, Any]]]:
        from pytest_ttbringup import emulation

        return emulation.end_test(mesh)

    def _quiesce(self, mesh: Any) -> None:
        pass  # crashes on the mock cluster, where nothing is ever under way

    def close_mesh(self, mesh: Any) -> None:
        from pytest_ttbringup import emulation

        try:
            super().close_mesh(mesh)
        except RuntimeError as error:
            if "is in use by" not in str(error):
                raise
            # What cures this on hardware, `quiesce_devices`, crashes on the mock cluster. The mesh stays open; so do
            # its submeshes, or else their destructors would end the process.
            self._stuck = mesh
            emulation.keep_alive(mesh, *mesh.get_submeshes())
        finally:
            emulation.forget_values()
