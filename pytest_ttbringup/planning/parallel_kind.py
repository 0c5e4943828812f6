"""How a mesh is used when nobody says: as the plan of the model on its system has it."""

from __future__ import annotations

from typing import Any

from pytest_ttbringup.parallel import Kind
from pytest_ttbringup.planning.footprint import Workload
from pytest_ttbringup.planning.model_size import size_of
from pytest_ttbringup.planning.plan import plan
from pytest_ttbringup.targets.systems import System


def planned_kind(config: Any, name: str, system: System, mesh: tuple[int, int], *, context: int) -> Kind:
    """`dp` if the model fits one chip; else `tp` along the mesh's one row or column, or `dpxtp` if it has several.

    Args:
        config: the Hugging Face configuration.
        name: of the model, for errors.
        system: whose chips these are.
        mesh: its shape.
        context: positions of each of 32 users.

    Raises:
        BringupError: the model's size can't be told from its configuration.
    """
    work = Workload(context=context)
    if plan(size_of(config, name), work, system).tensor_parallel == 1:
        return "dp"
    return "tp" if min(mesh) == 1 else "dpxtp"
