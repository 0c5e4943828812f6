"""Moreh's training operations against PyTorch's autograd."""

from __future__ import annotations

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check, check_with_control, on_tiles, values

seeds = st.integers(0, 2**31)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), -1, 1)


@pytest.mark.parametrize("name", ["sum", "mean"])
@settings(max_examples=4)
@given(dims=st.sampled_from([[1], [0, 3], [2], [0, 1, 2, 3]]), keepdim=st.booleans(), seed=seeds)
def test_gradient_of_a_reduction(device: ttnn.MeshDevice, name: str, dims: list[int], keepdim: bool, seed: int) -> None:
    x = numbers(seed, 2, 3, 17, 33).requires_grad_()
    result = getattr(torch, name)(x, dim=dims, keepdim=keepdim)
    gradient = numbers(seed + 1, *result.shape)
    (expected,) = torch.autograd.grad(result, x, gradient)
    given_shape = gradient if gradient.dim() else gradient.reshape(1)
    target = on_tiles(torch.zeros_like(x), device)
    out = getattr(ttnn, f"moreh_{name}_backward")(
        on_tiles(given_shape, device), dim=dims, keepdim=keepdim, input_grad=target
    )
    check_with_control(out, expected, atol=1e-4)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_gradients_of_a_dot_product(device: ttnn.MeshDevice, wanted: tuple[bool, bool]) -> None:
    a, b, gradient = numbers(1, 1, 1, 1, 33), numbers(2, 1, 1, 1, 33), numbers(3, 1, 1, 1, 1)
    targets = [on_tiles(torch.zeros_like(a), device) if asked else None for asked in wanted]
    ttnn.operations.moreh.dot_backward(
        *(on_tiles(it, device) for it in (gradient, a, b)), input_grad=targets[0], other_grad=targets[1]
    )
    for target, expected in zip(targets, (gradient * b, gradient * a), strict=True):
        if target is not None:
            check_with_control(target, expected)


@settings(max_examples=6)
@given(
    reduction=st.sampled_from(["mean", "sum", "none"]),
    weighted=st.booleans(),
    ignored=st.sampled_from([1, -100]),
    rest=st.sampled_from([(), (3,), (2, 5)]),
    seed=seeds,
)
def test_nll_loss(
    device: ttnn.MeshDevice, reduction: str, weighted: bool, ignored: int, rest: tuple[int, ...], seed: int
) -> None:
    x = numbers(seed, 4, 6, *rest).requires_grad_()
    targets = torch.randint(0, 6, (4, *rest), generator=torch.Generator().manual_seed(seed))
    targets.reshape(-1)[0] = 2  # not all are ignored, whose mean would be 0 / 0
    weight = numbers(seed + 1, 6).abs() + 0.5 if weighted else None
    loss = torch.nn.functional.nll_loss(x, targets, weight, ignore_index=ignored, reduction=reduction)
    gradient = numbers(seed + 2, *(loss.shape or (1,)))
    (expected,) = torch.autograd.grad(loss, x, gradient.reshape(loss.shape))
    wanted = {"weight_tensor": None if weight is None else on_tiles(weight, device), "ignore_index": ignored}
    on_device = on_tiles(targets.int(), device, ttnn.int32)
    if reduction == "none":
        unreduced = ttnn.moreh_nll_loss_unreduced_backward(
            on_device, on_tiles(gradient, device), input_grad_tensor=on_tiles(torch.zeros_like(x), device), **wanted
        )
        check_with_control(unreduced, expected, atol=1e-4)
        return
    divisor = on_tiles(torch.zeros(1), device) if reduction == "mean" else None
    forward = ttnn.moreh_nll_loss(on_tiles(x.detach(), device), on_device, reduction, divisor_tensor=divisor, **wanted)
    check_with_control(forward, loss.detach().reshape(1, 1), atol=2e-2)
    out = ttnn.moreh_nll_loss_backward(
        on_device,
        on_tiles(gradient, device),
        reduction == "mean",
        divisor_tensor=divisor,
        input_grad_tensor=on_tiles(torch.zeros_like(x), device),
        **wanted,
    )
    check_with_control(out, expected, atol=1e-3, rtol=2e-2)  # the divisor was rounded to bfloat16


@settings(max_examples=4)
@given(dims=st.integers(1, 3), affine=st.booleans(), seed=seeds)
def test_gradients_of_a_layer_norm(device: ttnn.MeshDevice, dims: int, affine: bool, seed: int) -> None:
    x = numbers(seed, 2, 3, 17, 33).requires_grad_()
    inner = list(x.shape[4 - dims :])
    gamma = numbers(seed + 1, *inner).requires_grad_()
    beta = torch.zeros(inner, requires_grad=True)
    result = torch.nn.functional.layer_norm(x, inner, gamma if affine else None, beta if affine else None)
    gradient = numbers(seed + 2, *x.shape)
    expected = torch.autograd.grad(result, [x, gamma, beta] if affine else [x], gradient)
    axes = tuple(range(4 - dims, 4))
    mean = x.detach().mean(axes)
    rstd = (x.detach().var(axes, correction=0) + 1e-5).rsqrt()
    out = ttnn.moreh_layer_norm_backward(
        on_tiles(gradient, device),
        on_tiles(x.detach(), device),
        on_tiles(mean, device),
        on_tiles(rstd, device),
        dims,
        gamma=on_tiles(gamma.detach(), device) if affine else None,
        input_grad=on_tiles(torch.zeros_like(x), device),
        gamma_grad=on_tiles(torch.zeros(inner), device) if affine else None,
        beta_grad=on_tiles(torch.zeros(inner), device) if affine else None,
    )
    for tensor, wanted in zip(out, expected, strict=False):
        check_with_control(tensor, wanted, atol=5e-2, rtol=2e-2)  # mean and rstd were rounded to bfloat16
    assert affine or out[1] is out[2] is None


@settings(max_examples=4)
@given(limit=st.sampled_from([0.5, 1.0, 1e6]), norm=st.sampled_from([1.0, 2.0, 2.2]), seed=seeds)
def test_clip_grad_norm(device: ttnn.MeshDevice, limit: float, norm: float, seed: int) -> None:
    gradients = [numbers(seed + index, 1, 2, rows, 33) for index, rows in enumerate((17, 32, 5))]
    parameters = [torch.nn.Parameter(torch.zeros_like(it)) for it in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    placed = [on_tiles(it, device) for it in gradients]
    total = torch.nn.utils.clip_grad_norm_(parameters, limit, norm)
    check_with_control(ttnn.moreh_clip_grad_norm(placed, limit, norm), total.reshape(1, 1))
    for tensor, parameter, gradient in zip(placed, parameters, gradients, strict=True):
        assert parameter.grad is not None
        check_with_control(tensor, parameter.grad, atol=1e-3)
        if limit < 2:
            with pytest.raises(AssertionError):  # as if nothing had been clipped
                check(tensor, gradient, atol=1e-3)


def test_a_norm_that_is_not_finite(device: ttnn.MeshDevice) -> None:
    placed = [on_tiles(torch.full((1, 1, 32, 32), torch.inf), device)]
    ttnn.moreh_clip_grad_norm(placed, 1.0, 2.0, False)
    with pytest.raises(RuntimeError, match=r"total norm of order 2\.0 .* is non-finite"):
        ttnn.moreh_clip_grad_norm(placed, 1.0, 2.0, True)
