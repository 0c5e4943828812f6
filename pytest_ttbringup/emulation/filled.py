"""Values that are one number all over, as after `ttnn.zeros`, of which the host holds that number alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def is_filled(values: torch.Tensor) -> bool:
    """Whether a single number in the host's memory stands for all."""
    return not any(values.stride()) and values.numel() > 1


def to_write(values: torch.Tensor) -> torch.Tensor:
    """A copy of values that others may hold, too, to be written to.

    NumPy leaves it to the system when zeros take memory, which is when they are written: a KV cache made for 32 users
    takes what its users fill. PyTorch writes all of them.
    """
    import numpy as np
    import torch

    if is_filled(values) and values.dtype == torch.float32:
        number = values[(0,) * values.dim()]
        if not number.view(torch.int32):  # -0 has a bit
            return torch.from_numpy(np.zeros(values.shape, dtype=np.float32))
    return values.clone(memory_format=torch.contiguous_format)
