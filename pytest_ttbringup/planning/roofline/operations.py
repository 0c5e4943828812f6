"""A device operation as TT-NN issued it: its operands' shapes, formats and memory, and its math fidelity."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_ttbringup.planning import footprint
from pytest_ttbringup.planning.footprint import TILE

BYTES_PER_VALUE = {**footprint.BYTES_PER_VALUE, "uint32": 4.0, "int32": 4.0, "uint16": 2.0, "uint8": 1.0}
"""Of TT-NN's formats; to those of weights and caches it adds those of indices."""

PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}
"""Passes of the matrix unit's multiplier at each math fidelity (tt-isa-documentation, `WormholeB0/TensixTile/
TensixCoprocessor/MVMUL.md`; the same in TT-Metal's report on matrix multiply FLOPS: 16, 32, 48, 64 cycles a tile).
"""

ALL_GATHER = "AllGather"
REDUCE_SCATTER = "ReduceScatter"


@dataclass(frozen=True)
class Operand:
    """A tensor that an operation reads or writes, as one chip has it.

    Attributes:
        shape: logical.
        dtype: TT-NN's name of the format, such as `bfloat8_b`.
        tiled: whether it lies in tiles; else in rows.
        in_dram: whether its buffer is in DRAM; else in L1.
    """

    shape: tuple[int, ...]
    dtype: str
    tiled: bool = True
    in_dram: bool = True

    @property
    def padded(self) -> tuple[int, ...]:
        """The shape with its last two dimensions rounded up to tiles, if it lies in tiles."""
        if not self.tiled or not self.shape:
            return self.shape
        *outer, rows, columns = (1, *self.shape) if len(self.shape) == 1 else self.shape
        return (*outer, up(rows, TILE), up(columns, TILE))

    @property
    def size(self) -> float:
        """Bytes of its buffer."""
        return math.prod(self.padded) * BYTES_PER_VALUE[self.dtype]


@dataclass(frozen=True)
class Operation:
    """One program of a device.

    Attributes:
        name: of TT-NN's device operation, as its graph capture and its profiler spell it: `MatmulDeviceOperation`.
        inputs: what it is given, in TT-NN's order.
        outputs: what it makes or returns.
        fidelity: a key of `PHASES`; empty where its attributes state none.
        causal: whether attention is; of prefill attention only.
        start: the position of a prefill chunk's first row; of chunked prefill attention only.
    """

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    fidelity: str = ""
    causal: bool = False
    start: int = 0

    @property
    def kind(self) -> str:
        """The name without what all names end in: `Matmul`."""
        return kind_of(self.name)

    @property
    def label(self) -> str:
        """The name, and what tells it from others of the same name: shapes and formats of its largest operands."""
        shapes = " x ".join(_brief(it) for it in self.inputs[:2] if math.prod(it.shape) > 1)
        fidelity = f" {self.fidelity}" if self.fidelity and self.is_product else ""
        return f"{self.kind} {shapes}{fidelity}"

    @property
    def is_matmul(self) -> bool:
        """Whether it multiplies two matrices."""
        return self.kind in ("Matmul", "MinimalMatmul")

    @property
    def is_decode_attention(self) -> bool:
        """Whether it is attention of one query position for each user."""
        return self.kind == "SdpaDecode"

    @property
    def is_prefill_attention(self) -> bool:
        """Whether it is attention of a user's rows."""
        return self.kind in ("SDPA", "ChunkedSDPA")

    @property
    def is_collective(self) -> bool:
        """Whether chips exchange parts of a tensor in it."""
        return self.kind in (ALL_GATHER, REDUCE_SCATTER)

    @property
    def result(self) -> Operand:
        """The smallest output of a reduce_scatter, which lists the room it works in, too; else the largest."""
        return (min if self.kind == REDUCE_SCATTER else max)(self.outputs, key=lambda it: math.prod(it.shape))

    @property
    def chips(self) -> int:
        """How many take part in a collective, by how much larger one side is than the other; 1 in other operations."""
        if not self.is_collective:
            return 1
        sizes = [math.prod(it.shape) for it in (self.inputs[0], self.result)]
        return max(sizes) // min(sizes)

    @property
    def is_product(self) -> bool:
        """Whether the matrix unit's work in it is counted."""
        return self.is_matmul or self.is_decode_attention or self.is_prefill_attention


def kind_of(name: str) -> str:
    """The name of a device operation without what most end in, and some in some versions of TT-NN."""
    return name.removesuffix("Operation").removesuffix("Device")


def up(value: int, multiple: int) -> int:
    """`value` rounded up to a multiple."""
    return -(-value // multiple) * multiple


def _brief(operand: Operand) -> str:
    sides = [side for side in operand.shape if side != 1] or [1]
    return f"[{', '.join(map(str, sides))}] {operand.dtype}"
