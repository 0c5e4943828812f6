"""What the device's buffers should hold, in plain torch.

Values are exact: the numbers are small integers, which bfloat16 holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = object()
"""Values that the model can't tell: a replay took its input from a tensor that came to lie at the same address."""


@dataclass(eq=False)
class Cell:
    """What a buffer holds, [chips, *shape]; views share it. None where nothing may be relied on."""

    values: Any


@dataclass(eq=False)
class Entry:
    """A tensor of the pool and the model of it."""

    tensor: Any
    cell: Cell
    generation: int

    @property
    def allocated(self) -> bool:
        return self.tensor.buffer_unique_id() is not None


@dataclass
class Trace:
    """A captured trace: what each operation does to the model."""

    number: Any
    steps: list[Callable[[], None]] = field(default_factory=list)
    cells: list[tuple[list[Cell], Cell]] = field(default_factory=list)
    """For each step the cells it reads and the one it writes."""
    own: set[Cell] = field(default_factory=set)
    sound: bool = True


def perform(step: Callable[[], None], reads: list[Cell], write: Cell) -> None:
    """Do a step, unless its inputs are unknown."""
    if any(cell.values is UNKNOWN for cell in reads):
        write.values = UNKNOWN
    else:
        step()


def wrapped(values: Any) -> Any:
    """Keep sums of sums within what bfloat16 holds exactly, as `operations.wrap` does on the device."""
    return values.clamp(-64, 64)
