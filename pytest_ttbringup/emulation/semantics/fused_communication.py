"""Collectives that TT-NN's LLM code fuses with a matrix product, a norm or a split into heads.

Shape legend: N chips of the group; the parts of a tensor are lists of N. M rows, K inner size, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import defaults
from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting
from pytest_ttbringup.emulation.collectives import Group, collective
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics.communication import all_gather, reduce_scatter
from pytest_ttbringup.emulation.semantics.matmul import MINIMAL_BLOCK, multiplied
from pytest_ttbringup.emulation.semantics.normalization import normed

if TYPE_CHECKING:
    import torch
    import ttnn

    Parts = list[torch.Tensor]

_MATMUL = ("transpose_a", "transpose_b", "activation")


@collective("ttnn.experimental.all_gather_matmul_async")
def all_gather_matmul(
    group: Group, *, input_tensor: Parts, weight_tensor: Parts, dim: int, bias: Parts | None = None, **options: Any
) -> list[Any]:
    """Gather the input along `dim`, then each chip multiplies it by its own weights: (gathered, product)."""
    gathered = all_gather(group, input_tensor=input_tensor, dim=dim)
    setting = _setting(group, "input_tensor", "weight_tensor", group.outputs[-1])
    return list(zip(gathered, _products(gathered, weight_tensor, bias, setting, options), strict=True))


@collective("ttnn.experimental.llama_all_gather_matmul_async")
def llama_all_gather_matmul(
    group: Group, *, input_tensor0: Parts, input_tensor1: Parts, dim: int, **options: Any
) -> Parts:
    """As `all_gather_matmul`, giving the product only."""
    gathered = all_gather(group, input_tensor=input_tensor0, dim=dim)
    setting = _setting(group, "input_tensor0", "input_tensor1", group.outputs[-1])
    return _products(gathered, input_tensor1, None, setting, options)


@collective("ttnn.experimental.matmul_reduce_scatter_async")
def matmul_reduce_scatter(
    group: Group, *, input_tensor: Parts, weight_tensor: Parts, dim: int, bias: Parts | None = None, **options: Any
) -> list[Any]:
    """Each chip multiplies its input by its weights; the products are summed over the chips and cut along `dim`:
    (product, piece of the sum).
    """
    setting = _setting(group, "input_tensor", "weight_tensor", group.outputs[0])
    products = [
        round_to(product, group.outputs[0].dtype)
        for product in _products(input_tensor, weight_tensor, bias, setting, options)
    ]
    pieces = reduce_scatter(group, input_tensor=products, dim=dim)
    return list(zip(products, pieces, strict=True))


@collective("ttnn.experimental.all_gather_minimal_matmul_async")
def all_gather_minimal_matmul(
    group: Group, *, input_tensor: Parts, weight_tensor: Parts, bias_tensor: Parts | None = None, **options: Any
) -> list[Any]:
    """Gather the input along its last dimension, then each chip multiplies it by its own weights (and adds a bias).

    Raises:
        EmulationError: something else is fused in.
    """
    for name in ("scalar", "fused_activation", "fsdp_cluster_axis", "fuse_swiglu", "chunk_sizes"):
        if options.get(name):
            raise EmulationError(f"{group.name}: {name} is not emulated")
    if options.get("chunks", 1) != 1:
        raise EmulationError(f"{group.name}: chunks is not emulated")
    gathered = all_gather(group, input_tensor=input_tensor, dim=-1)
    setting = _setting(group, "input_tensor", "weight_tensor", group.outputs[-1])
    setting = replace(setting, program_config=None, default=defaults.MINIMAL_MATMUL, block=MINIMAL_BLOCK)
    return _products(gathered, weight_tensor, bias_tensor, setting, {})


def _setting(group: Group, a: str, b: str, output: ttnn.Tensor) -> MatmulSetting:
    given = group.arguments
    return MatmulSetting(
        given[a],
        given[b],
        output,
        given.get("compute_kernel_config"),
        given.get("program_config"),
        given.get("core_grid"),
    )


@collective("ttnn.fused_rms_minimal")
def fused_rms_minimal(
    group: Group,
    *,
    input_tensor: Parts,
    weight: Parts | None = None,
    residual_input_tensor: Parts | None = None,
    epsilon: float = 1e-12,
    **_: Any,
) -> Parts:
    """RMS norm over the last dimension of the parts joined: x / sqrt(mean over all chips of x^2 + epsilon) * weight.

    The residual is added to the input first, and the sum kept in the residual's place by the device, which is not
    emulated: read the residual from the norm's own input.
    """
    import torch

    residuals = residual_input_tensor or [torch.zeros(())] * len(input_tensor)
    sums = [part + residual for part, residual in zip(input_tensor, residuals, strict=True)]
    gains = torch.cat([gain.reshape(-1) for gain in weight]) if weight else None
    joined = torch.cat(sums, dim=-1)
    result = normed(joined, output=group.outputs[0].dtype, centered=False, epsilon=epsilon, weight=gains)
    return list(result.chunk(len(sums), dim=-1))


def _products(
    inputs: Parts, weights: Parts, bias: Parts | None, setting: MatmulSetting, options: dict[str, Any]
) -> Parts:
    """Each chip's product; once for chips that have the same inputs."""
    biases: Sequence[torch.Tensor | None] = bias or [None] * len(inputs)
    known = {name: options[name] for name in _MATMUL if name in options}
    done: dict[tuple[int, int, int], torch.Tensor] = {}
    for one, weight, row in zip(inputs, weights, biases, strict=True):
        key = (id(one), id(weight), id(row))
        if key not in done:
            done[key] = multiplied(one, weight, setting, bias=row, **known)
    keys = zip(inputs, weights, biases, strict=True)
    return [done[id(one), id(weight), id(row)] for one, weight, row in keys]
