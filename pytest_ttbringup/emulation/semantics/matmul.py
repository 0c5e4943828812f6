"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.activations import activated
from pytest_ttbringup.emulation.arithmetic import Activation, arithmetic, defaults
from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.matmul", "ttnn.linear", refuses=("in0_column_offset",))
def linear(
    call: Call,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    compute_kernel_config: Any = None,
    program_config: Any = None,
    core_grid: Any = None,
    **options: Any,
) -> torch.Tensor:
    """[..., M, K] x [..., K, N] (+ [..., 1, N]) -> [..., M, N], with an activation if one is fused.

    TT-NN's golden function does not cover `ttnn.linear` with a row-vector bias of rank 4, and copies the weights.
    """
    setting = MatmulSetting(
        call.argument(0, "input_tensor_a"),
        call.argument(1, "input_tensor_b"),
        call.output,
        compute_kernel_config,
        program_config,
        core_grid,
    )
    return multiplied(input_tensor_a, input_tensor_b, setting, **options)


def multiplied(
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    setting: MatmulSetting,
    *,
    bias: torch.Tensor | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    activation: Any = None,
    **_: Any,
) -> torch.Tensor:
    """The product of a matmul or linear layer, under TT-NN's names, once it is known how to compute it."""
    a = input_tensor_a.transpose(-1, -2) if transpose_a else input_tensor_a
    b = input_tensor_b.transpose(-1, -2) if transpose_b else input_tensor_b
    fused = getattr(setting.program_config, "fused_activation", None) or activation
    return arithmetic().matmul(a, b, setting, bias=bias, activation=_function(fused))


def _function(activation: Any) -> Activation | None:
    return None if activation is None else lambda values, coarse: activated(values, activation, coarse)


@semantics("ttnn.experimental.minimal_matmul")
def minimal_matmul(
    call: Call,
    input_tensor: torch.Tensor | list[torch.Tensor],
    weight_tensor: torch.Tensor,
    *,
    bias_tensor: torch.Tensor | None = None,
    fused_activation: Any = None,
    fuse_swiglu: bool = False,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """As `linear`; several inputs are one, side by side.

    Raises:
        EmulationError: `fuse_swiglu` is asked for, whose order of columns TT-NN does not document.
    """
    import torch

    if fuse_swiglu:
        raise EmulationError("ttnn.experimental.minimal_matmul: fuse_swiglu=True is not emulated")
    rows = torch.cat(list(input_tensor), dim=-1) if isinstance(input_tensor, (list, tuple)) else input_tensor
    setting = _minimal(call, compute_kernel_config)
    return multiplied(rows, weight_tensor, setting, bias=bias_tensor, activation=fused_activation)


_OPERANDS = ((0, "input_tensor"), (1, "weight_tensor"))


def _minimal(call: Call, compute_kernel_config: Any, operands: Sequence[tuple[int, str]] = _OPERANDS) -> MatmulSetting:
    a, b = (call.argument(*it) for it in operands)
    a = a[0] if isinstance(a, (list, tuple)) else a
    output = call.output[0] if isinstance(call.output, (list, tuple)) else call.output
    return MatmulSetting(a, b, output, compute_kernel_config, default=defaults.MINIMAL_MATMUL, block=MINIMAL_BLOCK)


MINIMAL_BLOCK = 8 * 32
"""`MinimalMatmulConfig.K_block_size` unless a caller says otherwise."""


@semantics("ttnn.experimental.minimal_matmul_split")
def minimal_matmul_split(
    call: Call, input_tensor: torch.Tensor, weight_tensor: torch.Tensor, *, chunks: int = 3, **keywords: Any
) -> tuple[torch.Tensor, ...]:
    """`minimal_matmul`, cut into `chunks` of equally many columns."""
    return minimal_matmul(call, input_tensor, weight_tensor, **keywords).chunk(chunks, dim=-1)


@semantics("ttnn.experimental.dit_minimal_matmul_addcmul_fused")
def dit_minimal_matmul_addcmul_fused(
    call: Call,
    matmul_input_tensor: torch.Tensor,
    matmul_weight_tensor: torch.Tensor,
    scalar: float,
    addcmul_input_tensor1: torch.Tensor,
    addcmul_input_tensor2: torch.Tensor,
    bias_tensor: torch.Tensor | None = None,
    *,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """addcmul_input_tensor1 + scalar * (input @ weight + bias) * addcmul_input_tensor2.

    The product is `minimal_matmul`'s; what follows it is not modelled beyond the output's rounding.
    """
    setting = _minimal(call, compute_kernel_config, ((0, "matmul_input_tensor"), (1, "matmul_weight_tensor")))
    product = multiplied(matmul_input_tensor, matmul_weight_tensor, setting, bias=bias_tensor)
    return addcmul_input_tensor1 + scalar * product * addcmul_input_tensor2


@semantics("ttnn.experimental.attn_matmul", "ttnn.experimental.group_attn_matmul")
def attn_matmul(
    call: Call,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    compute_kernel_config: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Attention of one position: [1, H, B, K] x [B, H or a divisor of it, K, N] -> [1, H, B, N]."""
    heads = input_tensor_a.shape[1] // input_tensor_b.shape[1]
    b = input_tensor_b.repeat_interleave(heads, dim=1)
    setting = MatmulSetting(
        call.argument(0, "input_tensor_a"),
        call.argument(1, "input_tensor_b"),
        call.output,
        compute_kernel_config,
        default=defaults.ATTENTION_MATMUL,
        block=b.shape[-2],
    )
    return multiplied(input_tensor_a.transpose(0, 2), b, setting).transpose(0, 2)


@semantics("ttnn.experimental.attn_matmul_from_cache")
def attn_matmul_from_cache(
    call: Call,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    num_tokens: int,
    transpose_hw: bool,
    **options: Any,
) -> torch.Tensor:
    """`attn_matmul` with the first `num_tokens` rows of a cache [B, H, S, h], transposed for scores."""
    rows = input_tensor_b[:, :, :num_tokens]
    return attn_matmul(call, input_tensor_a, rows.transpose(-1, -2) if transpose_hw else rows, **options)
