"""A matmul as TT-NN's kernel computes it: blocks of the inner size, where their sums meet, what is fused in.

Source: the wheel's `bmm_large_block_zm_fused_bias_activation.cpp` and, for the formats of partial sums, TT-NN's program
factories of the matmul.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_ttbringup.emulation.numerics.adding import add
from pytest_ttbringup.emulation.numerics.aligned import aligned, alignment_shows
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig
from pytest_ttbringup.emulation.numerics.matrix_unit import Meeting, accumulate, accumulate_many, batch_of, collapsed
from pytest_ttbringup.emulation.numerics.packing import pack, to_bfloat16_even, to_bfloat16_in_place

if TYPE_CHECKING:
    import torch
    import ttnn

SMALL = 1 << 22
"""Multiply-adds of a product with FP32 destinations that is computed bit by bit even where speed matters: 5 ms in each
fidelity phase. With BF16 destinations all are.
"""

MIDDLING = 1 << 24
"""Multiply-adds of one whose products are aligned to their groups even where the fidelity drops more than that: 2 ms.
"""


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    config: KernelConfig,
    block: Callable[[], int],
    output: ttnn.DataType,
    exact: bool = False,
    bias: torch.Tensor | None = None,
    activation: Callable[[torch.Tensor, bool], torch.Tensor] | None = None,
) -> torch.Tensor:
    """[..., M, K] x [..., K, N] (+ bias, then an activation) -> [..., M, N] as packed into the output's format.

    Args:
        a: the activations, of BF16, a block format or TF32.
        b: the weights, likewise.
        config: of the compute kernel.
        block: gives the length of a block of the inner size; asked for only where that bears on values.
        output: format of the result.
        exact: bit for bit whatever the size; else, with FP32 destinations, only up to `SMALL`, and beyond that as
            `aligned` or `collapsed`.
        bias: of [..., M or 1, N].
        activation: fused, computed on the destination registers; told whether they are BF16.
    """
    import torch
    import ttnn

    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    batch = batch_of(a, b)
    work = batch.numel() * rows * inner * columns
    exact = exact or work <= SMALL
    quick = config.fp32 and not exact
    length = inner if quick else block()
    if quick:
        near = work <= MIDDLING or alignment_shows(a, config.phases)
        result = (aligned if near else collapsed)(a, b, config.phases)
    elif b.shape[:-2].numel() == 1:  # one set of weights
        flat = a.reshape(-1, inner)
        one = _blocks(flat, b.reshape(inner, columns), config, length, output, exact, bias is not None)
        result = one.reshape(*batch, rows, columns)
    elif length >= inner and bias is None:
        groups = (it.expand(*batch, *it.shape[-2:]).reshape(-1, *it.shape[-2:]) for it in (a, b))
        many = accumulate_many(*groups, phases=config.phases, fp32=config.fp32, exact=exact)
        result = many.reshape(*batch, rows, columns)
    else:
        pairs = zip(
            a.expand(*batch, rows, inner).reshape(-1, rows, inner),
            b.expand(*batch, inner, columns).reshape(-1, inner, columns),
            strict=True,
        )
        products = [_blocks(x, y, config, length, output, exact, bias is not None) for x, y in pairs]
        result = torch.stack(products).reshape(*batch, rows, columns)
    if bias is not None:
        result = add(result, bias, fp32=config.fp32)
    if activation is not None:
        result = activation(result, not config.fp32)
        if not config.fp32:
            result = to_bfloat16_even(result)
    if output == ttnn.bfloat16 and result.is_contiguous():
        return to_bfloat16_in_place(result)
    return pack(result, output)


def _blocks(
    a: torch.Tensor,
    b: torch.Tensor,
    config: KernelConfig,
    block: int,
    output: ttnn.DataType,
    exact: bool,
    bias: bool,
) -> torch.Tensor:
    """What is in the destinations, or in L1 before a bias is added, after all blocks: [M, K] x [K, N] -> [M, N].

    Partial sums lie in L1 as FP32 if destinations are, else as BF16 if the packer accumulates there, else in the
    output's own format. The packer accumulates only where it pays: three blocks or more, two with a bias
    (`packer_l1_acc_en` in the program factories).
    """
    import torch
    import ttnn

    count = -(-a.shape[1] // block)
    in_l1 = config.l1_accumulation and count > (1 if bias else 2)
    meeting: Meeting = ("L1 to the end" if bias else "L1") if in_l1 else "destination"
    result = torch.zeros(a.shape[0], b.shape[1])
    lossless = config.fp32 or in_l1 or output in (ttnn.bfloat16, ttnn.float32)
    blocks = [(0, a.shape[1])] if lossless else [(k, k + block) for k in range(0, a.shape[1], block)]
    for first, last in blocks:
        result = accumulate(
            a[:, first:last],
            b[first:last],
            result if first == 0 else pack(result, output),
            phases=config.phases,
            fp32=config.fp32,
            exact=exact,
            block=block,
            meeting=meeting,
        )
    return result if lossless or not bias else pack(result, output)
