"""Arithmetic in float32, with no rounding but that of the tensors' formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting


class Exact:
    """`--tt-numerics=exact`."""

    def matmul(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        setting: MatmulSetting,  # noqa: ARG002
        *,
        bias: torch.Tensor | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        product = a @ b
        if bias is not None:
            product = product + bias
        return product if activation is None else activation(product)
