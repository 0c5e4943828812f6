"""The product by blocks is the product."""

from __future__ import annotations

import pytest
import torch

from pytest_ttbringup.emulation import products


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 1, 5, 16), (1, 1, 16, 8192)),
        ((5, 16), (1, 1, 16, 9001)),
        ((2, 3, 5, 16), (16, 8192)),
        ((1, 1, 5, 16), (2, 1, 16, 8192)),  # several matrices: PyTorch's own
        ((1, 1, 1100, 16), (1, 1, 16, 8192)),  # many rows: PyTorch's own
        ((3, 4), (4, 5)),
    ],
)
def test_it_is_pytorchs_product(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(left, generator=generator), torch.randn(right, generator=generator)
    expected = a.double() @ b.double()
    out = products.product(a, b)
    assert out.shape == expected.shape
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(products.product(a, b.flip(-1)).double(), expected, rtol=1e-5, atol=1e-5)
