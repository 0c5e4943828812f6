"""Compiled for a processor without AVX or FMA, the loops give the bits they give here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib
import torch
from pytest_ttbringup.emulation.numerics.compiled import product
from pytest_ttbringup.emulation.numerics.matrix_unit import accumulate

made = torch.Generator().manual_seed(1)
a, b = (torch.randn(*shape, generator=made).bfloat16().float() for shape in ((8, 96), (96, 70)))
for fp32 in (False, True):
    for phases in (1, 2, 4):
        out = accumulate(a, b, torch.zeros(8, 70), phases=phases, fp32=fp32, exact=True, block=96)
        print(hashlib.sha256(out.numpy().tobytes()).hexdigest())
code = "".join(product.multiply.inspect_asm().values())
print("wide" if "%ymm" in code else "narrow")
"""


def printed(cache: Path, **environment: str) -> list[str]:
    """The bits of products, and whether the code has vectors of 256 bits."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_processor_without_wide_vectors(tmp_path: Path) -> None:
    *bits, _ = printed(tmp_path / "here")
    *generic, width = printed(tmp_path / "generic", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert generic == bits
    assert len(set(bits)) == 6
    assert width == "narrow"
