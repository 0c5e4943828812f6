"""Arithmetic in float32, with no rounding but that of the tensors' formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.products import product as plain_product

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.arithmetic import Activation
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
        activation: Activation | None = None,
    ) -> torch.Tensor:
        product = plain_product(a, b)
        if bias is not None:
            product = product + bias
        return product if activation is None else activation(product, False)

    def norm(
        self,
        x: torch.Tensor,
        *,
        centered: bool,
        epsilon: float,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        **_: Any,
    ) -> torch.Tensor:
        import torch

        x = x if residual is None else x + residual
        if centered:
            x = x - x.mean(dim=-1, keepdim=True)
        normed = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon)
        if weight is not None:
            normed = normed * weight
        return normed if bias is None else normed + bias

    def softmax(self, *_: Any, **__: Any) -> None:
        return None

    def total(self, *_: Any, **__: Any) -> None:
        return None

    def binary(self, *_: Any) -> None:
        return None

    def unary(self, *_: Any, **__: Any) -> None:
        return None

    def rotary(
        self, x: torch.Tensor, rotated: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        return x * cos + rotated * sin

    def attention(self, *_: Any) -> None:
        return None

    def stored(self, values: torch.Tensor, dtype: ttnn.DataType, name: str) -> torch.Tensor:  # noqa: ARG002
        return round_to(values, dtype)
