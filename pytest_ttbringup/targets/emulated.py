"""The emulated target: the genuine TT-NN host stack on a mock cluster, values computed on the host."""

from __future__ import annotations

from typing import Any

from pytest_ttbringup.targets.base import TTNNTarget, worker_id

NAME = "emulated"


class EmulatedTarget(TTNNTarget):
    """TT-NN on the emulated device of `pytest_ttbringup.emulation`."""

    name = NAME

    def prepare(self) -> None:
        from pytest_ttbringup.emulation import runtime

        super().prepare()
        runtime.prepare(system=self.system, cache_dir=self.cache_dir, worker_id=worker_id())

    def install(self) -> None:
        from pytest_ttbringup import emulation

        emulation.install()

    def start_test(self, mesh: Any) -> None:
        from pytest_ttbringup import emulation

        emulation.start_test(mesh)

    def end_test(self, mesh: Any) -> tuple[bool, list[dict[str, Any]]]:
        from pytest_ttbringup import emulation

        return emulation.end_test(mesh)

    def close_mesh(self, mesh: Any) -> None:
        from pytest_ttbringup import emulation

        try:
            super().close_mesh(mesh)
        finally:
            emulation.forget_values()
