"""Calls of operations on devices whose memory is measured: what each takes while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.memory_meter import MemoryMeter
from pytest_ttbringup.emulation.part_meshes import on_part
from pytest_ttbringup.emulation.program_memory import MOVES, Beside, ProgramMemory, beside_buffers, with_stand_ins

if TYPE_CHECKING:
    import ttnn
    from ttnn.decorators import FastOperation


class MeasuredCalls:
    """Tells a memory meter of operations."""

    def __init__(self, meter: MemoryMeter, original: Callable[..., Any]) -> None:
        self._meter = meter
        self._original = original
        self.programs = ProgramMemory()

    def issue(self, name: str, inputs: list[ttnn.Tensor], run: Callable[[], Any]) -> tuple[Any, Beside | None]:
        """What `run` returns, and what TT-NN told as it ran, if it tells of this operation only then."""
        if name not in MOVES or not inputs or not self._meter.measures(inputs[0].device().id()) or on_part(inputs):
            return run(), None  # on some chips of a mesh it runs in a capture already
        returned: list[Any] = []
        told = beside_buffers(lambda: returned.append(run()), watching=True)
        return returned[0], told

    def ran(
        self,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: list[ttnn.Tensor],
        outputs: list[ttnn.Tensor],
        told: Beside | None,
    ) -> None:
        """Note an operation that has just run."""
        mesh = (outputs or inputs)[0].device()
        if self._meter.measures(mesh.id()):
            run = self._once_more(operation, arguments, keywords, inputs, mesh)
            beside = self.programs.beside(operation.python_fully_qualified_name, inputs, outputs, run, told)
            self._meter.ran(mesh.id(), beside, lambda: beside_buffers(run) if told is None else beside)

    def captured(
        self,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: list[ttnn.Tensor],
        outputs: list[ttnn.Tensor],
    ) -> Beside:
        """What an operation takes that was captured into a trace, whenever it is replayed."""
        mesh = (outputs or inputs)[0].device()
        if not self._meter.measures(mesh.id()):
            return {}
        run = self._once_more(operation, arguments, keywords, inputs, mesh)
        return self.programs.beside(operation.python_fully_qualified_name, inputs, outputs, run)

    def _once_more(
        self,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: list[ttnn.Tensor],
        mesh: ttnn.MeshDevice,
    ) -> Callable[[], Any]:
        """A function that calls an operation once more where nothing is allocated, also one that consumed inputs."""
        consumed = [tensor for tensor in inputs if not tensor.is_allocated()]
        return lambda: with_stand_ins(self._original, (operation, *arguments), keywords, consumed, mesh)
