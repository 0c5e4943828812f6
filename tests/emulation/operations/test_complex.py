"""Complex tensors, and transforms between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Setting, check_with_control, on_tiles, values


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return values(Setting(shape, "tile", ttnn.bfloat16, seed), 0.25, 2)


REAL_VALUED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "real": torch.real,
    "imag": torch.imag,
    "abs": torch.abs,
    "angle": torch.angle,
}
COMPLEX_VALUED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "conj": torch.conj,
    "reciprocal": torch.reciprocal,
    "polar": lambda z: torch.polar(z.real, z.imag),
}


@pytest.mark.parametrize("name", [*REAL_VALUED, *COMPLEX_VALUED])
@settings(max_examples=3)
@given(rows=st.sampled_from([32, 64]), seed=st.integers(0, 2**31))
def test_of_complex_tensors(device: ttnn.MeshDevice, name: str, rows: int, seed: int) -> None:
    real, imaginary = numbers(seed, 1, 1, rows, 64), numbers(seed + 1, 1, 1, rows, 64)
    z = ttnn.complex_tensor(on_tiles(real, device), on_tiles(imaginary, device))
    out = getattr(ttnn, name)(z, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    expected = (REAL_VALUED | COMPLEX_VALUED)[name](torch.complex(real.double(), imaginary.double()))
    if name in REAL_VALUED:
        check_with_control(out, expected, atol=1e-2)
    else:
        check_with_control(out.real, expected.real.clone(), atol=2e-2)
        check_with_control(out.imag, expected.imag.clone().resolve_neg(), atol=2e-2)


def test_complex_product(device: ttnn.MeshDevice) -> None:
    parts = [numbers(seed, 1, 1, 32, 64) for seed in range(4)]
    tensors = [ttnn.from_torch(it, dtype=ttnn.float32, device=device) for it in parts]
    real, imaginary = ttnn.experimental.complex_mul(*tensors)
    expected = torch.complex(parts[0], parts[1]) * torch.complex(parts[2], parts[3])
    check_with_control(real, expected.real.double(), atol=1e-2)
    check_with_control(imaginary, expected.imag.double(), atol=1e-2)


@settings(max_examples=3)
@given(name=st.sampled_from(["add", "sub", "mul", "div"]), seed=st.integers(0, 2**31))
def test_complex_gradients(device: ttnn.MeshDevice, name: str, seed: int) -> None:
    pairs = [[numbers(seed + 2 * index + part, 1, 1, 32, 64) for part in (0, 1)] for index in range(3)]
    gradient, a, b = (torch.complex(*(it.double() for it in pair)) for pair in pairs)
    a.requires_grad_(), b.requires_grad_()
    expected = torch.autograd.grad(getattr(torch, name)(a, b), (a, b), gradient)
    tensors = [ttnn.complex_tensor(*(on_tiles(it, device) for it in pair)) for pair in pairs]
    extra = {"sub": [1.0], "add": [1.0]}.get(name, [])
    out = getattr(ttnn, f"{name}_bw")(*tensors, *extra, memory_config=ttnn.DRAM_MEMORY_CONFIG)
    for found, wanted in zip(out, expected, strict=True):
        check_with_control(found.real, wanted.real.clone(), atol=2e-2)
        check_with_control(found.imag, wanted.imag.clone(), atol=2e-2)
