"""What the chips that share a model's weights exchange."""

from __future__ import annotations

from collections.abc import Callable

import ttnn

from .parallelism import Parallelism
from .precision import DEFAULT_PRECISION, PrecisionConfig


class Collectives:
    """Sums and joins over the chips of an instance; on one chip a method gives its argument back, and issues nothing.

    What goes in is consumed.

    Args:
        parallelism: who exchanges.
        precision: formats of summands, and of their sum.

    Shapes: R rows, D hidden, C chips.
    """

    def __init__(self, parallelism: Parallelism, precision: PrecisionConfig = DEFAULT_PRECISION) -> None:
        self.precision = precision
        self.alone = parallelism.tensor == 1
        self.fractured = parallelism.fractured
        self.axis = parallelism.tensor_axis

    def all_reduce(self, partial: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        """[1, 1, R, D], a summand on each chip → [1, 1, R, D], the sum on every chip."""
        return self._exchanged(ttnn.all_reduce, partial, memory_config)

    def reduce_scatter(self, partial: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        """[1, 1, R, D], a summand on each chip → [1, 1, R, D/C], each chip's columns of the sum."""
        return self._exchanged(ttnn.reduce_scatter, partial, memory_config, dim=3)

    def all_gather(self, columns: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        """[1, 1, R, D/C], columns on each chip → [1, 1, R, D], all of them on every chip."""
        return self._exchanged(ttnn.all_gather, columns, memory_config, dim=3)

    @property
    def summand(self) -> ttnn.DataType:
        """The format of a row-parallel product, of which each chip has a summand; on one chip the activations'."""
        return self.precision.activations if self.alone else self.precision.partial_sums

    def residual_of_sum(self, partial: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        """A row-parallel product's [1, 1, R, D] → what the residual keeps of the sum, R rows of D or of D/C."""
        reduce = self.reduce_scatter if self.fractured else self.all_reduce
        total = reduce(partial, memory_config)
        if total.dtype == self.precision.activations:
            return total
        rounded = ttnn.typecast(total, self.precision.activations, memory_config=memory_config)
        ttnn.deallocate(total)
        return rounded

    def residual_of_columns(self, columns: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        """[1, 1, R, D/C], columns on each chip → what the residual keeps of them."""
        return columns if self.fractured else self.all_gather(columns, memory_config)

    def _exchanged(
        self,
        operation: Callable[..., ttnn.Tensor],
        given: ttnn.Tensor,
        memory_config: ttnn.MemoryConfig,
        **arguments: int,
    ) -> ttnn.Tensor:
        if self.alone:
            return given
        taken = operation(given, cluster_axis=self.axis, memory_config=memory_config, **arguments)
        ttnn.deallocate(given)
        return taken
