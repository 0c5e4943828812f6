"""Weights that TT-NN lays out for a convolution beforehand, with functions that are no operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.host import is_on_device, values_of
from pytest_ttbringup.emulation.semantics.convolution import in_corner, prepared_transposed_weights, prepared_weights
from pytest_ttbringup.emulation.values import DeviceMemory, Shards, chips_of

if TYPE_CHECKING:
    import torch
    import ttnn

Function = Callable[..., Any]


def preparations(memory: DeviceMemory, module: Any) -> dict[str, Function]:
    """Replacements for the functions of `ttnn._ttnn.operations.conv` that prepare weights and biases, by name."""

    def transposed(keywords: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        mirrored = not keywords.get("mirror_kernel", True)
        return lambda values: prepared_transposed_weights(values.flip(-1, -2) if mirrored else values)

    def weights(_: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda values: prepared_weights(values.unsqueeze(-1) if values.dim() == 3 else values)

    def bias(_: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda values: values.reshape(1, -1)

    kinds = {
        "prepare_conv_weights": ("weight_tensor", weights),
        "prepare_conv_bias": ("bias_tensor", bias),
        "prepare_conv_transpose2d_weights": ("weight_tensor", transposed),
        "prepare_conv_transpose2d_bias": ("bias_tensor", bias),
    }
    return {name: _replacement(memory, getattr(module, name), *kind) for name, kind in kinds.items()}


def _replacement(
    memory: DeviceMemory,
    original: Function,
    parameter: str,
    order: Callable[[dict[str, Any]], Callable[[torch.Tensor], torch.Tensor]],
) -> Function:
    def prepare(**keywords: Any) -> ttnn.Tensor:
        made = original(**keywords)
        if is_on_device(made):
            change = order(keywords)
            shards = _values_on(memory, keywords[parameter], made)
            laid_out = {id(it): round_to(in_corner(change(it), made.shape), made.dtype) for it in shards.values()}
            memory.write(made, {chip: laid_out[id(values)] for chip, values in shards.items()})
        return made

    return prepare


def _values_on(memory: DeviceMemory, source: ttnn.Tensor, target: ttnn.Tensor) -> Shards:
    import ttnn

    if is_on_device(source):
        return memory.read(source)
    parts = [values_of(part) for part in ttnn.get_device_tensors(source)]
    chips = chips_of(target)
    return dict(zip(chips, parts * len(chips) if len(parts) == 1 else parts, strict=True))
