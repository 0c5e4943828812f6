"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.matmul", "ttnn.linear")
def linear(
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    activation: Any = None,
    program_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """[..., M, K] x [..., K, N] (+ [..., 1, N]) -> [..., M, N], with an activation if one is fused.

    TT-NN's golden function does not cover `ttnn.linear` with a row-vector bias of rank 4, and copies the weights.
    """
    from ttnn.operations.activations import get_golden_function_for_activation

    a = input_tensor_a.transpose(-1, -2) if transpose_a else input_tensor_a
    b = input_tensor_b.transpose(-1, -2) if transpose_b else input_tensor_b
    product = a @ b
    if bias is not None:
        product = product + bias
    fused = getattr(program_config, "fused_activation", None) or activation
    if fused is not None:
        product = get_golden_function_for_activation(fused)(product)
    return product
