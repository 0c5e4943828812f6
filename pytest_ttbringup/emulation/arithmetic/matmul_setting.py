"""What decides how a matmul is computed, besides its operands' values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.numerics.blocks import inner_block
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig, given, matmul_default, on_wormhole

if TYPE_CHECKING:
    import ttnn


@dataclass(frozen=True)
class MatmulSetting:
    """The tensors and options of one call; looked into only by an arithmetic that wants to know.

    Attributes:
        a: the activations, as TT-NN's tensor or a trace's handle.
        b: the weights.
        output: the result.
        compute_kernel_config: the caller's, if any.
        program_config: the caller's, if any.
        core_grid: the caller's, if any.
        default: how the kernel is configured without a `compute_kernel_config`; None for `ttnn.matmul`'s own rule.
        block: of the inner size, in elements; None for `ttnn.matmul`'s own rule.
    """

    a: ttnn.Tensor
    b: ttnn.Tensor
    output: ttnn.Tensor
    compute_kernel_config: Any = None
    program_config: Any = None
    core_grid: Any = None
    default: KernelConfig | None = None
    block: int | None = None

    def kernel_config(self) -> KernelConfig:
        """How the compute kernel is configured."""
        if self.compute_kernel_config is not None:
            return given(self.compute_kernel_config)
        if self.default is not None:
            return self.default
        return matmul_default(
            self.a.dtype,
            self.b.dtype,
            self.output.dtype,
            wormhole=on_wormhole(self.a),
            chosen_by_caller=self.program_config is not None or self.core_grid is not None,
        )

    def inner_block(self, rows: int, inner: int, columns: int, *, batched: bool) -> int:
        """The length of a block of the inner size, in elements; `batched` if `b` holds several matrices."""
        if self.block is not None:
            return self.block
        return inner_block(
            self.a,
            self.b,
            self.output,
            shape=(rows, inner, columns),
            batched=batched,
            program_config=self.program_config,
            core_grid=self.core_grid,
        )
