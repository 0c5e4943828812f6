"""Checks of numbers that address rows: the device reads or writes whatever lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import torch


def require_within(name: str, what: str, indices: torch.Tensor, size: int) -> None:
    """Refuse indices outside 0 … size - 1.

    Args:
        name: the operation's.
        what: one of the indices, in words, such as `a token`.
        indices: integers of any shape.
        size: how many rows there are.

    Raises:
        EmulationError: one is outside; it names the first, and where it is.
    """
    wide = indices.long()
    outside = (wide < 0) | (wide >= size)
    if bool(outside.any()):
        place = outside.nonzero()[0].tolist()
        raise EmulationError(
            f"{name}: {what} is {int(wide[outside][0])} (at {place}), outside 0 … {size - 1}. The device does not "
            "check that, and uses whatever memory lies there."
        )
