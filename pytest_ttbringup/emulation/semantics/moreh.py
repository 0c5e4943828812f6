"""Training operations of Moreh whose golden functions fail, write into their inputs, or give another shape.

They compute what PyTorch's functions of the same name do; their gradients are those of autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.moreh_clip_grad_norm", updates="inputs")
def clip_grad_norm(
    call: Call,
    inputs: list[torch.Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    **_: Any,
) -> torch.Tensor:
    """The norm of all inputs taken together [1]; each is scaled down by max_norm / (norm + 1e-6) if that is below 1.

    Raises:
        RuntimeError: as TT-NN and PyTorch have it, of a norm that is not finite if `error_if_nonfinite`.
    """
    import torch

    norms = torch.stack([torch.linalg.vector_norm(it, norm_type) for it in inputs])
    norm = torch.linalg.vector_norm(norms, norm_type)
    if error_if_nonfinite and not norm.isfinite():
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for tensor, values in zip(call.argument(0, "inputs"), inputs, strict=True):
        values.copy_(round_to(values * scale, tensor.dtype))
    total: torch.Tensor = norm.reshape(1)
    return total


@semantics("ttnn.moreh_dot_backward")
def dot_backward(
    output_grad: torch.Tensor,
    input: torch.Tensor,  # noqa: A002
    other: torch.Tensor,
    *,
    input_grad: torch.Tensor | None = None,
    other_grad: torch.Tensor | None = None,
    **_: Any,
) -> list[torch.Tensor | None]:
    """The gradients of a dot product, of those operands for which there is a tensor to write them to."""
    return [
        None if input_grad is None else output_grad * other,
        None if other_grad is None else output_grad * input,
    ]


@semantics("ttnn.moreh_sum_backward")
def sum_backward(
    call: Call, output_grad: torch.Tensor, *, dim: int | Sequence[int] | None = None, **_: Any
) -> torch.Tensor:
    """Every element of the input gets the gradient of the sum it went into."""
    return _spread(output_grad, tuple(call.output.shape), dim)[0]


@semantics("ttnn.moreh_mean_backward")
def mean_backward(
    call: Call, output_grad: torch.Tensor, *, dim: int | Sequence[int] | None = None, **_: Any
) -> torch.Tensor:
    """As `sum_backward`, divided by the number of elements of each mean."""
    spread, count = _spread(output_grad, tuple(call.output.shape), dim)
    return spread / count


def _spread(
    gradient: torch.Tensor, shape: tuple[int, ...], dim: int | Sequence[int] | None
) -> tuple[torch.Tensor, int]:
    """The gradient of a reduction over `dim` (None or none: all) in the shape of its input, and how many elements were
    reduced to one.
    """
    dims = [dim] if isinstance(dim, int) else list(dim or range(len(shape)))
    reduced = {it % len(shape) for it in dims}
    kept = [1 if axis in reduced else size for axis, size in enumerate(shape)]
    return gradient.reshape(kept).expand(shape), math.prod(shape[axis] for axis in reduced)


@semantics("ttnn.moreh_nll_loss", updates="divisor_tensor")
def nll_loss(
    call: Call,
    input_tensor: torch.Tensor,
    target_tensor: torch.Tensor,
    reduction: str,
    *,
    divisor_tensor: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Of log probabilities [N, C, ...] and targets [N, ...] the loss [1], or losses if `reduction` is `none`.

    The sum of the weights, by which a mean is divided, is left in `divisor_tensor`.
    """
    index, weights = _targets(tuple(input_tensor.shape), target_tensor, **options)
    losses = -weights * input_tensor.gather(1, index.unsqueeze(1)).squeeze(1)
    if reduction not in ("sum", "mean"):
        return losses
    if reduction == "sum":
        return losses.sum().reshape(1)
    divisor = weights.sum()
    if divisor_tensor is not None:
        divisor_tensor.copy_(round_to(divisor, call.keywords["divisor_tensor"].dtype))
    return (losses.sum() / divisor).reshape(1)


@semantics("ttnn.moreh_nll_loss_backward")
def nll_loss_backward(
    call: Call,
    target_tensor: torch.Tensor,
    output_grad_tensor: torch.Tensor,
    reduction_mean: bool,
    *,
    divisor_tensor: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Gradient of the input of `nll_loss`: -weight of the target's class times the loss's gradient, for a mean divided
    by the sum of the weights; zero for other classes.
    """
    index, weights = _targets(tuple(call.output.shape), target_tensor, **options)
    scale = output_grad_tensor.reshape(())
    if reduction_mean:
        scale = scale / (weights.sum() if divisor_tensor is None else divisor_tensor.reshape(()))
    return _at_targets(tuple(call.output.shape), index, -weights * scale)


@semantics("ttnn.moreh_nll_loss_unreduced_backward")
def unreduced_nll_loss_backward(
    call: Call, target_tensor: torch.Tensor, output_grad_tensor: torch.Tensor, **options: Any
) -> torch.Tensor:
    """As `nll_loss_backward`, of losses [N, ...] that were not reduced."""
    index, weights = _targets(tuple(call.output.shape), target_tensor, **options)
    return _at_targets(tuple(call.output.shape), index, -weights * output_grad_tensor.reshape(index.shape))


def _targets(
    shape: tuple[int, ...],
    targets: torch.Tensor,
    *,
    weight_tensor: torch.Tensor | None = None,
    ignore_index: int = -100,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For inputs [N, C, ...] each target's class [N, ...] and weight, which is zero where it does not count."""
    import torch

    classes = targets.reshape(shape[0], *shape[2:]).long()
    counted = (classes != ignore_index) & (classes >= 0) & (classes < shape[1])
    index = torch.where(counted, classes, 0)
    weights = torch.ones(shape[1]) if weight_tensor is None else weight_tensor.reshape(-1)
    return index, torch.where(counted, weights[index], 0.0)


def _at_targets(shape: tuple[int, ...], index: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Zeros [N, C, ...] with `values` [N, ...] at the classes `index`."""
    import torch

    return torch.zeros(shape).scatter_(1, index.unsqueeze(1), values.unsqueeze(1))


@semantics("ttnn.moreh_layer_norm_backward")
def layer_norm_backward(
    output_grad: torch.Tensor,
    input: torch.Tensor,  # noqa: A002
    mean: torch.Tensor,
    rstd: torch.Tensor,
    normalized_dims: int,
    *,
    gamma: torch.Tensor | None = None,
    **_: Any,
) -> list[torch.Tensor]:
    """Gradients of the input, and of gamma and beta, of a layer norm over the last `normalized_dims` dimensions.

    Mean and 1 / standard deviation hold one value for each of the other dimensions' places.
    """
    inner = tuple(range(input.dim() - normalized_dims, input.dim()))
    outer = tuple(range(input.dim() - normalized_dims))
    places = [*input.shape[: len(outer)], *[1] * normalized_dims]
    scale = rstd.reshape(places)
    normed = (input - mean.reshape(places)) * scale
    inside = output_grad if gamma is None else output_grad * gamma.reshape(input.shape[len(outer) :])
    centered = inside - inside.mean(inner, keepdim=True) - normed * (inside * normed).mean(inner, keepdim=True)
    of_gamma = (output_grad * normed).sum(outer) if outer else output_grad * normed
    return [centered * scale, of_gamma, output_grad.sum(outer) if outer else output_grad]
