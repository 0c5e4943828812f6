"""Seeing what modules inside the reference give while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def captured_outputs(modules: Iterable[torch.nn.Module]) -> Iterator[list[torch.Tensor]]:
    """A list that receives the output of every call of any of `modules` within the block, in the order of the calls."""
    outputs: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:  # noqa: ARG001  torch passes all three
        outputs.append(output)

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
