"""Scaled dot-product attention in the order of TT-NN's flash attention kernels.

Sources: the wheel's `sdpa_flash_decode.cpp`, `sdpa.cpp` and `compute_common.hpp`. Between steps the running maximum,
sum and output lie in BF16; with FP32 destinations the prefill kernel keeps scores and sums in FP32. The decode kernel
spreads chunks over cores and merges what they found as a tree; here they follow one another.

Shape legend: G groups (users or heads at once), M queries of a group, S keys, h head size.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_ttbringup.emulation.numerics import vector_unit
from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.broadcasting import room
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.mantissas import leading_bits, to_tf32
from pytest_ttbringup.emulation.numerics.matrix_unit import accumulate_many
from pytest_ttbringup.emulation.numerics.multiplying import multiply
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16, to_bfloat16_even
from pytest_ttbringup.emulation.numerics.reducing import row_sums

if TYPE_CHECKING:
    import torch


State = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]


class Flash(NamedTuple):
    """How an attention kernel goes about its work."""

    config: KernelConfig
    scale: float
    chunk: int
    """Keys at a time."""
    coarse_exp: bool
    """Whether exp(scores) is a linear function of the bits (`exp_approx_mode`)."""
    fp32_between: bool
    """Whether scores and sums lie in FP32 between steps."""
    sums_by_tile: bool
    """Whether the packer sums up a chunk's tiles (prefill), else the matrix unit its rows (decode)."""
    exact: bool
    """Whether matrix products are computed bit by bit."""


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor, flash: Flash) -> torch.Tensor:
    """softmax(q k^T * scale) v of q [G, M, h], k and v [G, S, h] -> [G, M, h], packed to BF16.

    Args:
        q: queries.
        k: keys.
        v: values.
        hidden: [G or 1, M, S], true where a query does not look. A query that looks nowhere gets NaN.
        flash: how.
    """
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import weighing

    peak = total = output = torch.empty(0)
    for start in range(0, k.shape[1], flash.chunk):
        part = slice(start, start + flash.chunk)
        unseen = hidden[..., part]
        if start == 0:
            peak, total, output = _chunk(q, k[:, part], v[:, part], unseen, flash)
            continue
        if not bool(unseen.any()):
            peak, total, output = _chunk(q, k[:, part], v[:, part], unseen, flash, (peak, total, output))
            continue
        # of queries that see nothing of a chunk, the kernel leaves it out; later queries see more
        looks = ~unseen.all(dim=-1, keepdim=True)
        first = int(looks.any(dim=0).flatten().to(torch.uint8).argmax())
        rows = slice(first, None)
        before = peak[:, rows], total[:, rows], output[:, rows]
        after = _chunk(q[:, rows], k[:, part], v[:, part], unseen[:, rows], flash, before)
        if not bool(looks[:, rows].all()):
            seen = looks[:, rows]
            peaks, totals, outputs = (torch.where(seen, *it) for it in zip(after, before, strict=True))
            after = peaks, totals, outputs
        peak, total, output = (
            torch.cat([old[:, :first], new], dim=1) if first else new
            for old, new in zip((peak, total, output), after, strict=True)
        )
    if flash.sums_by_tile:
        total = row_sums(total, flash.config)
        total = total if flash.fp32_between else to_bfloat16(total)
    phases, fp32 = flash.config.phases, flash.config.fp32
    if flash.fp32_between:
        result = to_bfloat16(multiply(output, to_tf32(total).reciprocal(), phases=phases, fp32=fp32))
    else:
        result = output.contiguous()
        weighing.divide(_rows(result), _flat(total), phases, fp32)
    blind = hidden.all(dim=-1, keepdim=True)
    return result.masked_fill_(blind, torch.nan) if bool(blind.any()) else result


def _chunk(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor, flash: Flash, before: State | None = None
) -> State:
    """The state after a chunk of keys: the greatest score so far, the sums (in prefill one for each column of a tile),
    and the output so far.
    """
    from pytest_ttbringup.emulation.numerics.compiled import weighing

    phases, fp32 = flash.config.phases, flash.config.fp32
    peak, powers = _weights(_product(q, k.transpose(1, 2), flash), hidden, before[0] if before else None, flash)
    total = _sums(powers, flash)
    output = to_bfloat16(_product(powers, v, flash))
    if before is None:
        return peak, total, output
    last_peak, last_total, last_output = before
    factor = to_bfloat16(_correction(add(last_peak, -peak, fp32=fp32), flash))
    if not flash.sums_by_tile and not flash.fp32_between:
        before_it = _flat(last_total), _rows(output), _rows(last_output)
        weighing.join(_flat(total), *before_it, _flat(factor), phases, fp32)
        return peak, total, output
    last_total = multiply(last_total, factor, phases=phases, fp32=fp32)
    # the matrix unit's sum; for BF16 the simulator's bits have ties to even
    total = add(total, last_total, fp32=True) if flash.fp32_between else _added(total, last_total, flash)
    # the packer adds in L1, with ties to even
    return peak, total, to_bfloat16_even(output + to_bfloat16(multiply(last_output, factor, phases=phases, fp32=fp32)))


def _flat(values: torch.Tensor) -> Any:
    return values.contiguous().numpy().reshape(-1)


def _rows(values: torch.Tensor) -> Any:
    return values.contiguous().numpy().reshape(-1, values.shape[-1])


def _weights(
    scores: torch.Tensor, hidden: torch.Tensor, last_peak: torch.Tensor | None, flash: Flash
) -> tuple[torch.Tensor, torch.Tensor]:
    """The greatest score so far [G, M, 1], and exp((scores - it) * scale) as it is stored [G, M, S], of a chunk's
    scores.
    """
    import numpy as np
    import torch

    from pytest_ttbringup.emulation.numerics.compiled import weighing

    fp32, packed, rows = flash.config.fp32, not flash.fp32_between, scores.shape[:-1].numel()
    flags = hidden.expand(scores.shape).contiguous().numpy()
    peak = np.empty(rows, np.float32)
    last = np.full(rows, -np.inf, np.float32) if last_peak is None else last_peak.contiguous().numpy().reshape(rows)
    out, weights = room(scores)
    given = (it.reshape(rows, -1) for it in (scores.contiguous().numpy(), flags))
    weighing.below_peak(*given, last, peak, out.reshape(rows, -1), packed, fp32)
    if flash.coarse_exp:
        weighing.coarse_weights(out.reshape(-1), flags.reshape(-1), vector_unit.coarse_slope(flash.scale), fp32, packed)
    else:
        weights = _exp(weights, flash)
        weighing.masked_weights(weights.numpy().reshape(-1), flags.reshape(-1), packed)
    return torch.from_numpy(peak).reshape(*scores.shape[:-1], 1), weights


def _exp(x: torch.Tensor, flash: Flash) -> torch.Tensor:
    """exp(x * scale) of negative x as a destination holds it, not approximated."""
    import torch

    if flash.config.fp32:
        return torch.exp(x * flash.scale)
    return vector_unit.exp(leading_bits(x * flash.scale, 8))


def _correction(x: torch.Tensor, flash: Flash) -> torch.Tensor:
    """exp(x * scale) of a difference of maxima, for which kernels take the accurate function in either mode."""
    import torch

    scaled = x * cut_scale(flash.scale)
    return torch.exp(scaled) if flash.config.fp32 else vector_unit.exp_fused(scaled)


@cache
def cut_scale(scale: float) -> float:
    """A scale as the kernel holds it, in BF16."""
    import torch

    return leading_bits(torch.tensor(scale), 8).item()


def _sums(powers: torch.Tensor, flash: Flash) -> torch.Tensor:
    """Sums of rows: in decode by the matrix unit, [G, M, 1]; in prefill the packer adds tiles, [G, M, 32] for now."""
    import torch

    if not flash.sums_by_tile:
        return to_bfloat16(row_sums(powers, flash.config))  # they lie in BF16
    tiles = torch.nn.functional.pad(powers, (0, -powers.shape[-1] % 32)).unflatten(-1, (-1, 32)).unbind(dim=-2)
    total: torch.Tensor = tiles[0]
    for tile in tiles[1:]:
        total = _added(total, tile, flash)
    return total


def _added(total: torch.Tensor, more: torch.Tensor, flash: Flash) -> torch.Tensor:
    return total + more if flash.fp32_between else to_bfloat16_even(total + to_bfloat16(more))


def _product(a: torch.Tensor, b: torch.Tensor, flash: Flash) -> torch.Tensor:
    return accumulate_many(a, b, phases=flash.config.phases, fp32=flash.config.fp32, exact=flash.exact)
