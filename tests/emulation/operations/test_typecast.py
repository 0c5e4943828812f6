"""Floating point to integers as the device's kernels do it: saturating, NaN like an infinity, bytes wrapping."""

from __future__ import annotations

import math
import struct

import pytest
import torch
import ttnn
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ttbringup.emulation.semantics.typecast import to_integer

from .harness import on_tiles

NAN_OF_NEGATIVE_SIGN = struct.unpack("<f", struct.pack("<I", 0xFFC00000))[0]

# what each input gives as int32, uint32, uint16, uint8
SPECIAL = {
    "nan": (math.nan, 2**31 - 1, 2**32 - 1, 65535, 0),
    "-nan": (NAN_OF_NEGATIVE_SIGN, -(2**31), 0, 0, 0),
    "inf": (math.inf, 2**31 - 1, 2**32 - 1, 65535, 0),
    "-inf": (-math.inf, -(2**31), 0, 0, 0),
    "2**31": (2.0**31, 2**31 - 1, 2**31, 65535, 0),
    "-2**31": (-(2.0**31), -(2**31), 0, 0, 0),
    "2**32": (2.0**32, 2**31 - 1, 2**32 - 1, 65535, 0),
    "300": (300.0, 300, 300, 300, 44),
    "-1": (-1.0, -1, 0, 0, 255),
    "1.5": (1.5, 1, 1, 2, 1),
    "2.5": (2.5, 2, 2, 3, 2),
    "0.49": (0.49, 0, 0, 0, 0),
    "-1.5": (-1.5, -1, 0, 0, 255),
    "65536": (65536.0, 65536, 65536, 65535, 0),
    "-0": (-0.0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_special_values(device: ttnn.MeshDevice, case: str) -> None:
    number, *expected = SPECIAL[case]
    x = on_tiles(torch.tensor([[number]]), device, ttnn.float32)
    results = [ttnn.to_torch(ttnn.typecast(x, it)) for it in (ttnn.int32, ttnn.uint32, ttnn.uint16, ttnn.uint8)]
    assert [int(it.item()) for it in results] == expected


def as_the_kernel(bits: int, kind: str) -> int:
    """One value by the kernel's own steps: sign, exponent, mantissa, shift."""
    sign, exponent, mantissa = bits >> 31, (bits >> 23 & 255) - 127, bits & 0x7FFFFF | 0x800000
    shifted = mantissa << (exponent - 23) if exponent >= 23 else mantissa >> (23 - exponent)
    if kind == "int32":
        magnitude = 0 if exponent < 0 else shifted if exponent < 31 else 2**31
        return -magnitude if sign else min(magnitude, 2**31 - 1)
    if kind == "uint32":
        return 0 if sign or exponent < 0 else shifted if exponent < 32 else 2**32 - 1
    if kind == "uint16":
        if sign or exponent < -1:
            return 0
        return 65535 if exponent >= 16 else min(65535, (mantissa + (1 << (22 - exponent))) >> (23 - exponent))
    magnitude = shifted if 0 <= exponent < 31 else 0
    return (-magnitude if sign else magnitude) & 255


def given_by_us(bits: int, kind: str) -> int:
    value = torch.tensor([bits - 2**32 if bits >> 31 else bits], dtype=torch.int32).view(torch.float32)
    return int(to_integer(value, getattr(ttnn, kind)).item())


@settings(max_examples=200)
@given(bits=st.integers(0, 2**32 - 1), kind=st.sampled_from(["int32", "uint32", "uint16", "uint8"]))
def test_bits_of_any_value(bits: int, kind: str) -> None:
    assert given_by_us(bits, kind) == as_the_kernel(bits, kind)


@settings(max_examples=100)
@given(bits=st.integers(0x3E000000, 0x50000000), sign=st.booleans(), kind=st.sampled_from(["int32", "uint16", "uint8"]))
def test_bits_of_values_around_the_range(bits: int, sign: bool, kind: str) -> None:
    bits |= sign << 31
    assert given_by_us(bits, kind) == as_the_kernel(bits, kind)


def test_integers_to_bytes_wrap(device: ttnn.MeshDevice) -> None:
    x = on_tiles(torch.tensor([[-1, 256, 300, 128]]), device, ttnn.int32)
    assert ttnn.to_torch(ttnn.typecast(x, ttnn.uint8)).tolist() == [[255, 0, 44, 128]]
