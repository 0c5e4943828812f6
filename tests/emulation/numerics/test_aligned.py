"""Products with FP32 destinations where speed matters, against those that are computed bit by bit."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation.numerics import norms
from pytest_ttbringup.emulation.numerics.aligned import aligned, alignment_shows
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.matmul import MIDDLING, matmul
from pytest_ttbringup.emulation.numerics.matrix_unit import accumulate, accumulate_many, collapsed

pytestmark = pytest.mark.usefixtures("_compiled")


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


@pytest.mark.parametrize("phases", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_only_the_finer_phases_and_the_last_bits_are_left_out(rows: int, phases: int) -> None:
    a, b = made(rows, 200), made(200, 70, seed=1)
    exact = accumulate(a, b, torch.zeros(rows, 70), phases=phases, fp32=True, exact=True)
    assert apart(aligned(a, b, phases), exact) < 3e-5
    assert apart(collapsed(a, b, phases), exact) > 1e-4


def test_by_hand() -> None:
    """A product loses what lies below 2 ** -10 of its group's largest: 1 + 2 ** -11 - 1 -> 2 ** -10, ties away."""
    a, b = torch.ones(1, 3), torch.tensor([[1.0], [2.0**-11], [-1.0]])
    assert aligned(a, b, 1).item() == 2.0**-10
    assert aligned(a, -b, 1).item() == -(2.0**-10)
    assert collapsed(a, b, 1).item() == 2.0**-11


def test_of_each_of_many() -> None:
    a, b = made(2, 3, 8, 40), made(3, 40, 9, seed=1)
    groups = a.reshape(6, 8, 40), b.repeat(2, 1, 1)
    exact = accumulate_many(*groups, phases=2, fp32=True, exact=True).reshape(2, 3, 8, 9)
    assert apart(aligned(a, b, 2), exact) < 3e-5


@pytest.mark.parametrize("huge", [float("nan"), float("inf"), 2.0**51])
def test_what_is_not_tame_leaves_other_rows_and_columns_as_they_are(huge: float) -> None:
    a, b = made(8, 40), made(40, 70, seed=1)
    alone = aligned(a, b, 2)
    a[5, 7], b[3, 4] = huge, huge
    result = aligned(a, b, 2)
    touched = torch.zeros_like(alone, dtype=torch.bool)
    touched[5], touched[:, 4] = True, True
    assert torch.equal(result[~touched], alone[~touched])
    assert not (result[touched].abs() < 2**40).any()


def test_where_alignment_shows() -> None:
    seven_bits = torch.full((3, 100), 127 / 64)
    eight = seven_bits.clone()
    eight[2, 99] = 255 / 128
    assert [alignment_shows(seven_bits, phases) for phases in (1, 2, 3, 4)] == [False, True, False, False]
    assert [alignment_shows(eight, phases) for phases in (1, 2, 3, 4)] == [False] * 4


def test_large_matmuls_are_aligned_where_that_shows() -> None:
    """Activations of a block format in HiFi2 lose nothing but what alignment takes; those of BF16 lose more."""
    b, config = made(1088, 512, seed=1), KernelConfig(phases=2, fp32=True)
    assert MIDDLING < 32 * 1088 * 512
    few = (made(32, 1088).view(torch.int32) & -0x20000).view(torch.float32)

    def product(a: torch.Tensor, *, exact: bool = False) -> torch.Tensor:
        return matmul(a, b, config=config, block=lambda: 1088, output=ttnn.bfloat16, exact=exact)

    exact = product(few, exact=True)
    assert (product(few) != exact).float().mean() < 0.02
    assert (collapsed(few, b, 2).bfloat16().float() != exact).float().mean() > 0.08
    whole = made(32, 1088)
    assert (product(whole) != collapsed(whole, b, 2).bfloat16().float()).float().mean() < 1e-3  # ties


@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize("phases", [2, 4])
def test_rms_norm_at_once_is_its_steps(monkeypatch: pytest.MonkeyPatch, phases: int, fp32: bool) -> None:
    x, weight, config = made(3, 5, 45), made(45, seed=1), KernelConfig(phases=phases, fp32=fp32)
    results = [norms.rms_norm(x, config, epsilon=1e-5, weight=it) for it in (None, weight)]
    x[1, 2, 3] = float("inf")
    results.append(norms.rms_norm(x, config, epsilon=1e-5, weight=weight))
    assert torch.equal(results[2][0], results[1][0])
    assert results[2][1, 2].isnan().any()
    monkeypatch.setattr(norms, "_at_once", lambda *_: None)
    x[1, 2, 3] = made(3, 5, 45)[1, 2, 3]
    steps = [norms.rms_norm(x, config, epsilon=1e-5, weight=it) for it in (None, weight)]
    assert torch.equal(results[0], steps[0])
    assert torch.equal(results[1], steps[1])
