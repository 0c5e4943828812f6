"""Sums and means, and sums over parts of a tensor that have names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.golden import golden_values
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


def _register_total(name: str) -> None:
    @semantics(f"ttnn.{name}")
    def compute(
        call: Call,
        input_tensor: torch.Tensor,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        compute_kernel_config: Any = None,
        **keywords: Any,
    ) -> Any:
        """Along one of the last two dimensions an arithmetic may have rules; all else is TT-NN's golden function."""
        import ttnn

        rank = input_tensor.dim()
        one = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
        plain = input_tensor.is_floating_point() and keywords.get("scalar", 1.0) == 1.0
        if plain and isinstance(one, int) and rank >= 2 and one % rank >= rank - 2:
            own = arithmetic().total(
                input_tensor,
                one,
                mean=name == "mean",
                output=call.output,
                compute_kernel_config=compute_kernel_config,
            )
            if own is not None:
                return own if keepdim else own.squeeze(one)
        return golden_values(getattr(ttnn, name), call, input_tensor, dim, keepdim, **keywords)


_register_total("sum")
_register_total("mean")


@semantics("ttnn.experimental.fast_reduce_nc")
def fast_reduce_nc(input: torch.Tensor, *, dims: Sequence[int] = (), **_: Any) -> torch.Tensor:  # noqa: A002
    """Sum over outer dimensions, which stay with size 1."""
    return input.sum(dim=tuple(dims), keepdim=True)


@semantics("ttnn.experimental.fast_reduce_nc_split")
def fast_reduce_nc_split(
    input: torch.Tensor,  # noqa: A002
    *,
    dim: int,
    split_output_width: int,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over `dim`, which stays with size 1: its first `split_output_width` columns, and the others."""
    total = input.sum(dim=dim, keepdim=True)
    return total[..., :split_output_width], total[..., split_output_width:]


@semantics("ttnn.experimental.deepseek_moe_fast_reduce_nc")
def deepseek_moe_fast_reduce_nc(
    input_tensor: torch.Tensor, dim: int, *, split_size: int, **_: Any
) -> tuple[torch.Tensor, ...]:
    """Sum over `dim`, which stays with size 1, cut into pieces of `split_size` columns."""
    total = input_tensor.sum(dim=dim, keepdim=True)
    return tuple(total.narrow(-1, start, split_size) for start in range(0, total.shape[-1], split_size))


@semantics("ttnn.experimental.hc_sum_reduce")
def hc_sum_reduce(input: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: A002
    """[..., 32 N] -> [..., N]: the sum of every 32 columns (a state space model's hidden state)."""
    return input.reshape(*input.shape[:-1], -1, 32).sum(-1)


@semantics("ttnn.prod_bw")
def prod_bw(
    grad_tensor: torch.Tensor, input_tensor: torch.Tensor, *, dim: int | None = None, **_: Any
) -> list[torch.Tensor]:
    """The gradient of a product along `dim`, or of all elements: autograd's.

    Of `grad_tensor` the first element along each reduced dimension counts, and may be followed by others (TT-NN's
    `test_backward_prod.py`); the golden function wants it to be the only one.
    """
    import torch

    for reduced in range(grad_tensor.dim()) if dim is None else (dim,):
        grad_tensor = grad_tensor.narrow(reduced, 0, 1)
    with torch.enable_grad():
        factors = input_tensor.detach().requires_grad_()
        product = factors.prod() if dim is None else factors.prod(dim, keepdim=True)
    return list(torch.autograd.grad(product, factors, grad_tensor.reshape(product.shape)))


@semantics("ttnn.experimental.prefix_scan", updates="h_prev")
def prefix_scan(call: Call, a: torch.Tensor, bx: torch.Tensor, h_prev: torch.Tensor, **_: Any) -> torch.Tensor:
    """The recurrence h[t] = a[t] * h[t - 1] + bx[t] along the second to last dimension, every h returned; the last one
    is left in `h_prev`, from which the next chunk goes on (TT-NN's `test_ssm_prefix_scan.py`).
    """
    import torch

    state = h_prev.reshape(-1)
    states = []
    for decay, step in zip(a.reshape(-1, a.shape[-1]), bx.reshape(-1, bx.shape[-1]), strict=True):
        state = decay * state + step
        states.append(state)
    h_prev.copy_(round_to(state, call.argument(2, "h_prev").dtype).reshape(h_prev.shape))
    return torch.stack(states).reshape(a.shape)


@semantics("ttnn.ema")
def ema(input_tensor: torch.Tensor, alpha: float, **_: Any) -> torch.Tensor:
    """The moving average y[t] = alpha * y[t - 1] + (1 - alpha) * x[t] along the last dimension, from y[-1] = 0 on.

    So TT-NN's test_ema.py has it, which runs on silicon; its golden function begins with y[0] = x[0].
    """
    import torch

    averages = torch.empty_like(input_tensor)
    average = torch.zeros_like(input_tensor[..., 0])
    for step in range(input_tensor.shape[-1]):
        average = alpha * average + (1 - alpha) * input_tensor[..., step]
        averages[..., step] = average
    return averages


@semantics("ttnn.experimental.repeat_and_interleave_eltwise_mul")
def repeat_and_interleave_eltwise_mul(a: torch.Tensor, b: torch.Tensor, **_: Any) -> torch.Tensor:
    """A [..., 32] repeated times b [..., N] with every column repeated 32 times -> [..., 32 N]; either may be expanded
    already.
    """
    columns = 32 * b.shape[-1] if a.shape[-1] == 32 else a.shape[-1]
    a = a.repeat(1, 1, 1, columns // a.shape[-1])
    return a * b.repeat_interleave(columns // b.shape[-1], dim=-1)


@semantics("ttnn.experimental.intimg")
def intimg(input_tensor: torch.Tensor) -> torch.Tensor:
    """The integral image of [1, H, W, C]: sums over all rows above and columns to the left."""
    return input_tensor.cumsum(-3).cumsum(-2)
