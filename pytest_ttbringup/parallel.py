"""Data and tensor parallelism of a mesh: the kinds, and what each makes of a mesh's rows and columns."""

from __future__ import annotations

from typing import Literal, get_args

from pytest_ttbringup.errors import BringupError

Kind = Literal["dp", "tp", "dpxtp"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""`dp`: every chip is an instance of the model; `tp`: all chips share one; `dpxtp`: each row of the mesh shares one."""


def degrees(mesh: tuple[int, int], kind: Kind) -> tuple[int, int]:
    """(data, tensor): instances, and chips of each, of a mesh (rows, columns).

    Raises:
        BringupError: no such kind, or the mesh can't be used so; the message says which can.
    """
    rows, columns = mesh
    chips = rows * columns
    if kind == "dp":
        return chips, 1
    if kind == "tp":
        if min(mesh) > 1:
            raise BringupError(
                f"tensor parallel (tp) wants its chips along one row or column, and a {rows}x{columns} mesh has "
                f"several of both. Use a 1x{chips} mesh, or dpxtp: {rows} instances of {columns} chips."
            )
        return 1, chips
    if kind == "dpxtp":
        if min(mesh) == 1:
            raise BringupError(
                f"data x tensor parallel (dpxtp) makes each row of the mesh an instance, and a {rows}x{columns} mesh "
                "has only one row or column. Use dp or tp, or a mesh such as 2x4."
            )
        return rows, columns
    raise BringupError(f"parallelism {kind!r} is none of {', '.join(KINDS)}.")
