"""The device's own arithmetic."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import defaults
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.numerics import norms, vector_unit
from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.attention import attend
from pytest_ttbringup.emulation.numerics.kernel_config import given_or, on_wormhole
from pytest_ttbringup.emulation.numerics.mantissas import to_tf32
from pytest_ttbringup.emulation.numerics.matmul import matmul
from pytest_ttbringup.emulation.numerics.multiplying import multiply
from pytest_ttbringup.emulation.numerics.packing import pack
from pytest_ttbringup.emulation.numerics.reducing import column_sums, row_sums
from pytest_ttbringup.emulation.numerics.rotary import rotate

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.arithmetic import Activation
    from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionMask, AttentionSetting
    from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting


_SMALL = 1 << 23
"""Multiply-adds of a chunk's scores up to which attention with FP32 destinations is computed bit by bit: some 10 ms in
each fidelity phase."""


class Device:
    """`--tt-numerics=device`, or `bitexact` where everything is computed `bit_by_bit`."""

    def __init__(self, *, bit_by_bit: bool = False) -> None:
        self._bit_by_bit = bit_by_bit
        self._packed: tuple[Callable[[], torch.Tensor | None], Any] = (lambda: None, None)

    def matmul(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        setting: MatmulSetting,
        *,
        bias: torch.Tensor | None = None,
        activation: Activation | None = None,
    ) -> torch.Tensor:
        import ttnn

        if a.dim() < 2 or b.dim() < 2:  # vectors, which TT-NN makes rows and columns of
            a, b, bare = *_as_matrices(a, b), (a @ b).shape
            return self.matmul(a, b, setting, bias=bias, activation=activation).reshape(bare)
        a = to_tf32(a) if setting.a.dtype == ttnn.float32 else a
        b = to_tf32(b) if setting.b.dtype == ttnn.float32 else b

        def block() -> int:
            return setting.inner_block(a.shape[-2], a.shape[-1], b.shape[-1], batched=b.shape[:-2].numel() > 1)

        result = matmul(
            a,
            b,
            config=setting.kernel_config(),
            block=block,
            output=setting.output.dtype,
            exact=self._bit_by_bit,
            bias=bias,
            activation=activation,
        )
        return self._noted(result, setting.output.dtype)

    def norm(
        self,
        x: torch.Tensor,
        *,
        centered: bool,
        epsilon: float,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        output: ttnn.DataType,
        compute_kernel_config: Any = None,
    ) -> torch.Tensor:
        config = given_or(compute_kernel_config, defaults.LAYER_NORM if centered else defaults.RMS_NORM)
        x = x if residual is None else add(x, residual, fp32=config.fp32)
        function = norms.layer_norm if centered else norms.rms_norm
        return self._noted(pack(function(x, config, epsilon=epsilon, weight=weight, bias=bias), output), output)

    def softmax(
        self, x: torch.Tensor, *, stable: bool, fp32: bool, output: ttnn.Tensor, compute_kernel_config: Any = None
    ) -> torch.Tensor:
        default = defaults.softmax(fp32=fp32, wormhole=on_wormhole(output))
        return pack(norms.softmax(x, given_or(compute_kernel_config, default), stable=stable), output.dtype)

    def total(
        self, x: torch.Tensor, dim: int, *, mean: bool, output: ttnn.Tensor, compute_kernel_config: Any = None
    ) -> torch.Tensor:
        config = given_or(compute_kernel_config, defaults.reduction(wormhole=on_wormhole(output)))
        sums = row_sums if dim % x.dim() == x.dim() - 1 else column_sums
        return pack(sums(x, config, scaler=1 / x.shape[dim] if mean else 1.0), output.dtype)

    def binary(
        self,
        name: str,
        a: torch.Tensor,
        b: torch.Tensor,
        formats: tuple[ttnn.DataType, ttnn.DataType],
        output: ttnn.DataType,
    ) -> torch.Tensor | None:
        """On the matrix unit, but for FP32 operands and products of BF16, which the vector unit computes in FP32 (so
        the simulator's bits have it). Destinations are FP32 for an output of FP32 (`fp32_dest_acc_en` in TT-NN's
        binary_ng_program_factory.cpp).
        """
        import ttnn

        blocks, fp32 = (ttnn.bfloat8_b, ttnn.bfloat4_b), output == ttnn.float32
        if not all(form == ttnn.bfloat16 or form in blocks for form in formats):
            return None
        if name == "multiply":
            return multiply(a, b, phases=4, fp32=fp32) if any(form in blocks for form in formats) else None
        total = add(a, -b if name == "subtract" else b, fp32=fp32)
        return total if fp32 else self._noted(total, ttnn.bfloat16)

    def unary(self, name: str, x: torch.Tensor, **parameters: Any) -> torch.Tensor | None:
        function = vector_unit.FUNCTIONS.get(name)
        return None if function is None else function(x, **parameters)

    def rotary(
        self,
        x: torch.Tensor,
        rotated: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        *,
        compute_kernel_config: Any = None,
    ) -> torch.Tensor:
        import ttnn

        result = rotate(x, rotated, cos, sin, given_or(compute_kernel_config, defaults.ROTARY))
        return self._noted(result, ttnn.bfloat16)

    def attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: AttentionMask, setting: AttentionSetting
    ) -> torch.Tensor:
        group, hidden = q.shape[1] // k.shape[1], mask.hidden(q.shape[2], k.shape[2])
        if setting.decode:  # the queries of a group are rows of one product
            queries, keys, values = q.unflatten(1, (-1, group)).flatten(2, 3).flatten(0, 1), k, v
            hidden = hidden.repeat_interleave(k.shape[1], dim=0)
        else:
            queries, (keys, values) = q.flatten(0, 1), (it.repeat_interleave(group, dim=1) for it in (k, v))
            hidden = hidden.repeat_interleave(q.shape[1], dim=0) if len(hidden) > 1 else hidden
        keys, values = keys.flatten(0, 1), values.flatten(0, 1)
        small = queries.numel() * min(k.shape[2], setting.chunk) <= _SMALL
        # with FP32 destinations the difference drowns in what lies in BF16 between steps, and decode has to be quick
        exact = self._bit_by_bit or (small and not (setting.decode and setting.config.fp32))
        return attend(queries, keys, values, hidden, setting.flash(exact=exact)).view(*q.shape[:3], -1)

    def stored(self, values: torch.Tensor, dtype: ttnn.DataType, name: str) -> torch.Tensor:
        """Blocks as the packer makes them; but a typecast to bfp8_b rounds once, as the simulator's bits have it."""
        import ttnn

        packed, form = self._packed
        if packed() is values and form == dtype:
            return values
        if dtype == ttnn.bfloat8_b and "typecast" in name:
            return round_to(values, dtype)
        if dtype in (ttnn.bfloat8_b, ttnn.bfloat4_b):
            return pack(round_to(values, ttnn.bfloat16), dtype)
        return round_to(values, dtype)

    def _noted(self, values: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
        """Remember that these are packed already, so that `stored` need not look at them again."""
        self._packed = weakref.ref(values), dtype
        return values


def _as_matrices(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return a.unsqueeze(0) if a.dim() == 1 else a, b.unsqueeze(-1) if b.dim() == 1 else b
