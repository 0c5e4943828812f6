"""Products on the matrix unit: what the compiled loops want, given matrices as torch has them.

Shape legend: M rows, K inner size, N columns.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pytest_ttbringup.emulation.numerics.mantissas import (
    ACTIVATION_BITS,
    WEIGHT_BITS,
    activation_parts,
    leading_bits,
)
from pytest_ttbringup.emulation.products import product as plain_product

if TYPE_CHECKING:
    import torch

Meeting = Literal["destination", "L1", "L1 to the end"]
"""Where blocks of the inner size meet: see `compiled.product`."""

LARGEST = 2.0**50
"""Operands below this can't leave the range in which the compiled loops scale exactly."""

_WORTH_A_THREAD = 1 << 20
"""Multiply-adds."""


def accumulate(
    activations: torch.Tensor,
    weights: torch.Tensor,
    destination: torch.Tensor,
    *,
    phases: int,
    fp32: bool,
    exact: bool,
    block: int | None = None,
    meeting: Meeting = "destination",
) -> torch.Tensor:
    """Activations [M, K] times weights [K, N], added to what the destination registers [M, N] hold.

    Args:
        activations: of BF16, a block format or TF32.
        weights: likewise.
        destination: FP32, or values that BF16 holds.
        phases: of math fidelity, 1 (LoFi) to 4 (HiFi4).
        fp32: whether destinations are FP32, else BF16.
        exact: with FP32 destinations, bit for bit, else as `collapsed`. BF16 ones always are bit for bit.
        block: of the inner size, a multiple of 16; None for all of it. Matters only to blocks that meet in L1.
        meeting: where blocks meet.

    Returns:
        What the destinations hold then; where an operand is not finite, or above 2 ** 50, the plain product.
    """
    import torch

    if fp32 and not exact:
        return destination + collapsed(activations, weights, phases)
    if tame(activations) and (not fp32 or tame(weights)):
        result, largest = _accumulated(activations, weights, destination, phases, fp32, block, meeting)
        if largest < LARGEST:  # of BF16 destinations known only now, since looking takes time
            return result
    plain = destination + activations @ weights
    rows, columns = finite(activations, dim=-1), finite(weights, dim=-2)
    rest = torch.where(rows, activations, 0.0), torch.where(columns, weights, 0.0)
    result, _ = _accumulated(*rest, destination, phases, fp32, block, meeting)
    return torch.where(rows & columns, result, plain)


def batch_of(a: torch.Tensor, b: torch.Tensor) -> torch.Size:
    """The dimensions before the last two that a product of both has; PyTorch's own rule takes 30 us."""
    import torch

    own, other = a.shape[:-2], b.shape[:-2]
    same = own == other or (len(other) <= len(own) and other.numel() == 1)
    return own if same else torch.broadcast_shapes(own, other)


def tame(values: torch.Tensor) -> bool:
    """Whether compiled loops can take all of these values: they are finite and below 2 ** 50."""
    import torch

    least, most = torch.aminmax(values)  # NaN if there is one
    return bool(-least < LARGEST) and bool(most < LARGEST)


def finite(values: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Which rows or columns are tame."""
    return values.abs().amax(dim=dim, keepdim=True) < LARGEST  # not so for NaN


def accumulate_many(a: torch.Tensor, b: torch.Tensor, *, phases: int, fp32: bool, exact: bool) -> torch.Tensor:
    """[G, M, K] times [G, K, N] for each of G at once, added to empty destinations; the rest as in `accumulate`.

    Where an operand is not finite, or above 2 ** 50, the result is as `collapsed`; other rows and columns know nothing
    of it.
    """
    import torch

    if fp32 and not exact:
        return collapsed(a, b, phases)
    if tame(a) and (not fp32 or tame(b)):
        result, largest = _accumulated_many(a, b, phases, fp32)
        if largest < LARGEST:
            return result
    rows, columns = finite(a, dim=-1), finite(b, dim=-2)
    rest = torch.where(rows, a, 0.0), torch.where(columns, b, 0.0)
    result, _ = _accumulated_many(*rest, phases, fp32)
    return torch.where(rows & columns, result, collapsed(a, b, phases))


def _accumulated_many(a: torch.Tensor, b: torch.Tensor, phases: int, fp32: bool) -> tuple[torch.Tensor, float]:
    """The results, and with BF16 destinations a power of two that the largest of `b` reaches."""
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import product

    a, b = _padded(a, b)
    result = torch.zeros(*a.shape[:2], b.shape[2])
    arrays = _arrays(a, b, result, fp32)

    def groups(start: int, stop: int) -> int:
        return product.multiply_many(*(it[start:stop] for it in arrays), phases, fp32)  # type: ignore[no-any-return]

    largest = in_threads(groups, a.shape[0], result.numel() * a.shape[2])
    return result, power(largest)


def collapsed(activations: torch.Tensor, weights: torch.Tensor, phases: int) -> torch.Tensor:
    """Activations [..., M, K] times weights [..., K, N] of so many phases with FP32 destinations, as ordinary products.

    A destination of 24 bits keeps what the phases add, so their sum is the product of what they multiply. The alignment
    of each product to its group (see `compiled.steps.exact`) is left out: it is noise below BF16's last bit. Where an
    operand is not finite, or above 2 ** 50, the plain product.
    """
    import torch

    if phases == 4:
        return plain_product(activations, weights)
    high = leading_bits(activations, ACTIVATION_BITS)
    if phases == 1:
        return plain_product(high, leading_bits(weights, WEIGHT_BITS))
    product = plain_product(high, weights)
    if phases == 2:
        return product
    product = product + (activations - high) @ leading_bits(weights, WEIGHT_BITS)
    if tame(activations) and tame(weights):
        return product
    kept = finite(activations, dim=-1) & finite(weights, dim=-2)
    return torch.where(kept, product, activations @ weights)  # the two products of an infinity cancel out to NaN


def _accumulated(
    activations: torch.Tensor,
    weights: torch.Tensor,
    destination: torch.Tensor,
    phases: int,
    fp32: bool,
    block: int | None,
    meeting: Meeting,
) -> tuple[torch.Tensor, float]:
    """What the destinations hold then, and with BF16 ones a power of two that the largest weight reaches."""
    from pytest_ttbringup.emulation.numerics.compiled import product
    from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH

    activations, weights = _padded(activations, weights)
    result = destination.contiguous().clone()
    arrays = _arrays(activations, weights, result, fp32)
    where = {
        "destination": product.IN_DESTINATION,
        "L1": product.IN_L1,
        "L1 to the end": product.IN_L1_TO_THE_END,
    }[meeting]

    def panels(start: int, stop: int) -> int:
        columns = start * WIDTH, min(stop * WIDTH, weights.shape[1])
        return product.multiply(  # type: ignore[no-any-return]
            *arrays, phases, fp32, block or activations.shape[1], where, *columns
        )

    largest = in_threads(panels, -(-weights.shape[1] // WIDTH), activations.numel() * weights.shape[1])
    return result, power(largest)


def _padded(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """With zeros up to a multiple of 16 along the inner size, which add nothing."""
    import torch

    missing = -a.shape[-1] % 16
    pad = torch.nn.functional.pad
    return (pad(a, (0, missing)), pad(b, (0, 0, 0, missing))) if missing else (a, b)


def _arrays(activations: torch.Tensor, weights: torch.Tensor, result: torch.Tensor, fp32: bool) -> list[Any]:
    """What the compiled loops take of activations, weights and destinations."""
    import torch

    parts = [it * (1 + 2.0**-14) for it in activation_parts(activations)]
    unused = [1] * activations.dim()
    unused[:-2] = activations.shape[:-2]
    if fp32:
        bits = activations.contiguous().view(torch.int32)
        exponents = [(bits & 0x7F800000).view(torch.float32), torch.empty(unused, dtype=torch.uint8)]
    else:
        exponents = [torch.empty(unused), exponents_of(activations)]
    return [it.contiguous().numpy() for it in (*parts, *exponents, weights, result)]


def exponents_of(values: torch.Tensor) -> torch.Tensor:
    """The exponent of each value as the compiled loops count, in a byte."""
    import torch

    from pytest_ttbringup.emulation.numerics.compiled.bf16_step import LOWEST

    bits = values.contiguous().view(torch.int32)
    return ((bits >> 23) & 255).sub_(LOWEST).clamp_(0, 127).to(torch.uint8)


def power(exponent: int) -> float:
    """The power of two of an exponent as the compiled loops count."""
    from pytest_ttbringup.emulation.numerics.compiled.bf16_step import LOWEST

    return 2.0 ** (exponent + LOWEST - 127)


def in_threads(function: Callable[[int, int], int], count: int, work: int) -> int:
    """Call `function` on ranges that make up 0 … `count`, side by side where `work` (multiply-adds) is worth it; the
    largest of what it returns.
    """
    import torch

    threads = torch.get_num_threads() if work > _WORTH_A_THREAD else 1
    share = -(-count // threads)
    if share >= count:
        return function(0, count)
    starts = range(0, count, share)
    return max(_threads().map(function, starts, (min(start + share, count) for start in starts)))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="matrix-unit")
