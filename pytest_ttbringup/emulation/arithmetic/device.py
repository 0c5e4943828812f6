"""The device's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.matmul import matmul

if TYPE_CHECKING:
    import torch

    from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting


class Device:
    """`--tt-numerics=device`, or `bitexact` where everything is computed `bit_by_bit`."""

    def __init__(self, *, bit_by_bit: bool = False) -> None:
        self._bit_by_bit = bit_by_bit

    def matmul(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        setting: MatmulSetting,
        *,
        bias: torch.Tensor | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        if a.dim() < 2 or b.dim() < 2:  # vectors, which TT-NN makes rows and columns of
            a, b, bare = *_as_matrices(a, b), (a @ b).shape
            return self.matmul(a, b, setting, bias=bias, activation=activation).reshape(bare)
        block = setting.inner_block(a.shape[-2], a.shape[-1], b.shape[-1], batched=b.shape[:-2].numel() > 1)
        return matmul(
            a,
            b,
            config=setting.kernel_config(),
            block=block,
            output=setting.output.dtype,
            exact=self._bit_by_bit,
            bias=bias,
            activation=activation,
        )


def _as_matrices(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return a.unsqueeze(0) if a.dim() == 1 else a, b.unsqueeze(-1) if b.dim() == 1 else b
