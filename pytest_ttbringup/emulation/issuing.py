"""TT-NN's part of an operation: its checks, its outputs' buffers, its program.

It runs as on a device, but for calls on which TT-NN's host code or TT-Metal's mock cluster would end the process: on
tensors without elements (`empty_tensors`), and of programs for some chips of a mesh (`part_meshes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import device_tensors
from pytest_ttbringup.emulation.capture import Capture
from pytest_ttbringup.emulation.empty_tensors import require_survival
from pytest_ttbringup.emulation.part_meshes import Undispatched, on_part, without_dispatch
from pytest_ttbringup.emulation.part_programs import PartPrograms, program_key

if TYPE_CHECKING:
    import ttnn
    from ttnn.decorators import FastOperation

_ON_SOME_CHIPS = frozenset({"ttnn.point_to_point"})
"""Operations whose program is for some chips, wherever the tensors lie."""


class Issuer:
    """Runs TT-NN's part of operations."""

    def __init__(self, original: Callable[..., Any], part_programs: PartPrograms) -> None:
        self._original = original
        self._part_programs = part_programs

    def run(self, operation: FastOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What TT-NN returns.

        Raises:
            EmulationError: the call would end the process.
        """
        given = self._checked(operation, arguments, keywords)
        name = operation.python_fully_qualified_name
        if not _on_some_chips(name, given):
            return self._original(operation, *arguments, **keywords)
        mesh, undispatched = given[0].device(), Undispatched((operation, *arguments), keywords)
        with without_dispatch(name) as launched:
            output = undispatched.run(self._original)
        self._part_programs.add(mesh, program_key(name, arguments, keywords), len(launched) // undispatched.runs)
        return undispatched.complete(output)

    def run_in(
        self, capture: Capture, operation: FastOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """The same in the capture of a trace.

        Raises:
            EmulationError: as in `run`, and what a capture refuses.
        """
        given = self._checked(operation, arguments, keywords)
        name = operation.python_fully_qualified_name
        if not _on_some_chips(name, given):
            with capture.watching(name):
                return self._original(operation, *arguments, **keywords)
        known = self._part_programs.knows(capture.mesh, program_key(name, arguments, keywords))
        before, undispatched = capture.programs, Undispatched((operation, *arguments), keywords)
        with capture.watching(name, dispatched=False):
            output = undispatched.run(self._original)
        capture.programs = before + (capture.programs - before) // undispatched.runs
        if capture.programs > before and not known:
            capture.refuse_program(name)
        return undispatched.complete(output)

    def _checked(
        self, operation: FastOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> list[ttnn.Tensor]:
        """The device tensors of a call that does not end the process by one without elements."""
        given = device_tensors(*arguments, *keywords.values())
        for tensor in given:
            if not tensor.logical_volume():
                shapes = [list(it.shape) for it in given]
                name = operation.python_fully_qualified_name
                require_survival(name, shapes, lambda: self._original(operation, *arguments, **keywords))
                break
        return given


def _on_some_chips(name: str, given: list[ttnn.Tensor]) -> bool:
    return name in _ON_SOME_CHIPS or on_part(given)
