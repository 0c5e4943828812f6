"""Arithmetic in float32, with no rounding but that of the tensors' formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionMask
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.products import product as plain_product

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.arithmetic import Activation
    from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionSetting
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

    def attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: AttentionMask, setting: AttentionSetting
    ) -> torch.Tensor:
        if setting.decode:
            return _decode_attention(q, k, v, mask, setting.scale)
        import torch

        seen = None if mask.triangle or mask.last is None else ~mask.hidden(q.shape[2], k.shape[2])[:, None]
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=mask.triangle, scale=setting.scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return attended if seen is None else attended.masked_fill_(~seen.any(dim=-1, keepdim=True), torch.nan)

    def stored(self, values: torch.Tensor, dtype: ttnn.DataType, name: str) -> torch.Tensor:  # noqa: ARG002
        return round_to(values, dtype)


def _decode_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: AttentionMask, scale: float
) -> torch.Tensor:
    """Two batched products take less than PyTorch's own attention, whose blocks a single query does not fill."""
    import torch

    users, heads, _, size = q.shape
    keys = k.shape[2]
    if mask.last is not None and 2 * int((looks := mask.last[:, 0] >= 0).sum()) < users:
        attended = q.new_full((users, heads, 1, v.shape[-1]), torch.nan)
        if bool(looks.any()):  # as where one user's text is read: the others' keys are not touched
            attended[looks] = _decode_attention(
                q[looks], k[looks], v[looks], AttentionMask(mask.last[looks], mask.window), scale
            )
        return attended
    groups = (q * scale).reshape(users * k.shape[1], -1, size)  # [B K, H/K, h]
    scores = groups.bmm(k.flatten(0, 1).transpose(1, 2)).view(users, heads, keys)
    hidden = mask.hidden(1, keys)  # [B or 1, 1, S]
    if bool(hidden.any()):
        scores.masked_fill_(hidden, float("-inf"))
    weights = scores.softmax(dim=-1).view(len(groups), -1, keys)  # over nothing, for a negative position, it is NaN
    return weights.bmm(v.flatten(0, 1)).view(users, heads, 1, -1)
