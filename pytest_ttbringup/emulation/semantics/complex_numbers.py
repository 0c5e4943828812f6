"""Complex arithmetic on pairs of real tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.experimental.complex_mul")
def complex_mul(
    a_real: torch.Tensor, a_imag: torch.Tensor, b_real: torch.Tensor, b_imag: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(a_real + i a_imag) * (b_real + i b_imag)."""
    return a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real


@semantics("ttnn.experimental.fft")
def fft(
    input_real: torch.Tensor, input_imag: torch.Tensor | None = None, precision: str = "precise"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The discrete Fourier transform along the last dimension, as real and imaginary part."""
    import torch

    del precision
    values = input_real.double() if not isinstance(input_imag, torch.Tensor) else torch.complex(input_real, input_imag)
    spectrum = torch.fft.fft(values)
    return spectrum.real, spectrum.imag


@semantics("ttnn.experimental.ifft")
def ifft(
    spectrum_real: torch.Tensor, spectrum_imag: torch.Tensor, precision: str = "precise"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of `fft`."""
    import torch

    del precision
    values = torch.fft.ifft(torch.complex(spectrum_real, spectrum_imag))
    return values.real, values.imag
