"""Products on the matrix unit: what the compiled loops want, given matrices as torch has them.

Shape legend: M rows, K inner size, N columns.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Literal

from pytest_ttbringup.emulation.numerics.mantissas import ACTIVATION_BITS, WEIGHT_BITS, activation_parts, leading_bits

if TYPE_CHECKING:
    import torch

Meeting = Literal["destination", "L1", "L1 to the end"]
"""Where blocks of the inner size meet: see `compiled.product`."""

_LARGEST = 2.0**50
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
    block: int,
    meeting: Meeting = "destination",
) -> torch.Tensor:
    """Activations [M, K] times weights [K, N], added to what the destination registers [M, N] hold.

    Args:
        activations: of BF16, a block format or TF32.
        weights: likewise.
        destination: FP32, or values that BF16 holds.
        phases: of math fidelity, 1 (LoFi) to 4 (HiFi4).
        fp32: whether destinations are FP32, else BF16.
        exact: bit for bit, else as fast as it can be told apart from it by statistics only: with FP32 destinations as
            `collapsed`, with BF16 ones by `add_bf16_quickly`.
        block: of the inner size; matters only to blocks that meet in L1.
        meeting: where blocks meet.

    Returns:
        What the destinations hold then; where an operand is not finite, or above 2 ** 50, the plain product.
    """
    import torch

    if fp32 and not exact:
        return destination + collapsed(activations, weights, phases)
    sizes = [torch.linalg.vector_norm(it, float("inf")) for it in (activations, weights)]
    if all(bool(size < _LARGEST) for size in sizes):
        return _accumulated(activations, weights, destination, phases, fp32, exact, block, meeting)
    plain = destination + activations @ weights
    rows = activations.abs().amax(dim=1, keepdim=True) < _LARGEST  # not so for NaN
    columns = weights.abs().amax(dim=0, keepdim=True) < _LARGEST
    tame = torch.where(rows, activations, 0.0), torch.where(columns, weights, 0.0)
    result = _accumulated(*tame, destination, phases, fp32, exact, block, meeting)
    return torch.where(rows & columns, result, plain)


def collapsed(activations: torch.Tensor, weights: torch.Tensor, phases: int) -> torch.Tensor:
    """Activations [..., M, K] times weights [..., K, N] of so many phases with FP32 destinations, as ordinary products.

    A destination of 24 bits keeps what the phases add, so their sum is the product of what they multiply. The alignment
    of each product to its group (see `compiled.steps.exact_fp32`) is left out: it is noise below BF16's last bit.
    """
    if phases == 4:
        return activations @ weights
    high = leading_bits(activations, ACTIVATION_BITS)
    if phases == 1:
        return high @ leading_bits(weights, WEIGHT_BITS)
    product = high @ weights
    return product if phases == 2 else product + (activations - high) @ leading_bits(weights, WEIGHT_BITS)


def _accumulated(
    activations: torch.Tensor,
    weights: torch.Tensor,
    destination: torch.Tensor,
    phases: int,
    fp32: bool,
    exact: bool,
    block: int,
    meeting: Meeting,
) -> torch.Tensor:
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import product
    from pytest_ttbringup.emulation.numerics.compiled.steps import WIDTH

    missing = -activations.shape[1] % 16
    if missing:  # zeros add nothing
        activations = torch.nn.functional.pad(activations, (0, missing))
        weights = torch.nn.functional.pad(weights, (0, 0, 0, missing))
    high, low = activation_parts(activations)
    if exact:
        powers = (activations.contiguous().view(torch.int32) & 0x7F800000).view(torch.float32)
        high, low = high * (1 + 2.0**-14), low * (1 + 2.0**-14)
        step = product.EXACT_FP32 if fp32 else product.EXACT_BF16
    else:
        powers, step = high, product.QUICK
    where = {
        "destination": product.IN_DESTINATION,
        "L1": product.IN_L1,
        "L1 to the end": product.IN_L1_TO_THE_END,
    }[meeting]
    result = destination.contiguous().clone()
    arrays = [it.contiguous().numpy() for it in (high, low, powers, weights, result)]

    def columns(start: int, stop: int) -> None:
        product.multiply(*arrays, phases, step, block, where, start, stop)

    rows, inner = activations.shape
    width = weights.shape[1]
    threads = torch.get_num_threads() if rows * inner * width > _WORTH_A_THREAD else 1
    panels = -(-width // WIDTH)
    share = -(-panels // threads) * WIDTH
    if share >= width:
        columns(0, width)
    else:
        starts = range(0, width, share)
        list(_threads().map(columns, starts, (min(start + share, width) for start in starts)))
    return result


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="matrix-unit")
