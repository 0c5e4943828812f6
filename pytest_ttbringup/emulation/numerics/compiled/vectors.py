"""Vector instructions inside compiled loops, for where LLVM would not find them by itself.

What they are worth: the step of `bf16_step.add_step` as a plain numba loop, its activations in scalars and
multiply-adds contracted, gives the same bits in 2.0 times the time (32 x 576 activations, 64 columns, two phases, on
AVX2 and FMA).

A `Vectors` writes LLVM's instructions for the body of a numba intrinsic. On a host without vectors of this size LLVM
takes shorter ones. Arrays are taken as flat, in C order, and nothing checks their bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.np import arrayobj

FLOATS = ir.VectorType(ir.FloatType(), 8)
WORDS = ir.VectorType(ir.IntType(32), 8)
BYTES = ir.VectorType(ir.IntType(8), 32)
FEW_BYTES = ir.VectorType(ir.IntType(8), 8)

_INDEX, _PLACE = ir.IntType(64), ir.IntType(32)


class Vectors:
    """The instructions of one intrinsic."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context = context
        self.build = builder

    def place(self, kind: Any, array: Any, offset: Any) -> Any:
        """Where an array's element of this offset lies."""
        return self.build.gep(arrayobj.make_array(kind)(self._context, self.build, array).data, [offset])

    def after(self, place: Any, count: Any) -> Any:
        """So many elements further on."""
        return self.build.gep(place, [ir.Constant(_INDEX, count) if isinstance(count, int) else count])

    def load(self, place: Any, index: int, kind: Any) -> Any:
        """A vector."""
        loaded = self.build.load(self.build.bitcast(self.after(place, index), kind.as_pointer()))
        loaded.align = kind.element.width // 8 if kind.element != ir.FloatType() else 4
        return loaded

    def store(self, vector: Any, place: Any, index: int) -> None:
        """Write a vector."""
        kind = vector.type
        stored = self.build.store(vector, self.build.bitcast(self.after(place, index), kind.as_pointer()))
        stored.align = kind.element.width // 8 if kind.element != ir.FloatType() else 4

    def fetch(self, place: Any) -> Any:
        """Have the processor load the line of an address, in bounds or not, into its cache."""
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        function = cgutils.get_or_insert_function(self.build.module, kind, "llvm.prefetch.p0i8")
        read_often = [ir.Constant(flag, it) for it in (0, 3, 1)]
        return self.build.call(function, [self.build.bitcast(place, pointer), *read_often])

    def repeated(self, scalar: Any, kind: Any) -> Any:
        """A vector of one value over and over."""
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.build.insert_element(undefined, scalar, ir.Constant(_PLACE, 0))
        return self.build.shuffle_vector(first, undefined, self.constant(0, ir.VectorType(_PLACE, kind.count)))

    def element(self, place: Any, index: int, kind: Any) -> Any:
        """A vector of one element over and over."""
        return self.repeated(self.build.load(self.after(place, index)), kind)

    def constant(self, value: float, kind: Any) -> Any:
        """A vector of a constant."""
        return ir.Constant(kind, [value] * kind.count)

    def part(self, vector: Any, first: int, count: int) -> Any:
        """So many elements of a vector."""
        places = ir.Constant(ir.VectorType(_PLACE, count), list(range(first, first + count)))
        return self.build.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    def larger(self, a: Any, b: Any, *, signed: bool = True) -> Any:
        """The larger of two integers, element by element."""
        compare = self.build.icmp_signed if signed else self.build.icmp_unsigned
        return self.build.select(compare(">", a, b), a, b)

    def smaller(self, a: Any, b: Any) -> Any:
        """The smaller of two signed integers, element by element."""
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """The product of floats plus another, rounded once."""
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        function = cgutils.get_or_insert_function(self.build.module, kind, "llvm.fma.v8f32")
        return self.build.call(function, [a, b, c])

    def words(self, floats: Any) -> Any:
        """The bits of floats."""
        return self.build.bitcast(floats, WORDS)

    def floats(self, words: Any) -> Any:
        """The floats of these bits."""
        return self.build.bitcast(words, FLOATS)
