"""Looking rows up in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics
from pytest_ttbringup.emulation.semantics.indices import require_within

if TYPE_CHECKING:
    import torch


@semantics("ttnn.embedding")
def embedding(input_tensor: torch.Tensor, weight: torch.Tensor, **_: Any) -> torch.Tensor:
    """Indices [..., N] and a table [V, D], or [1, 1, V, D] as models keep it, -> [..., N, D].

    TT-NN's golden function takes a table of rank 2 only.
    """
    import torch

    require_within("ttnn.embedding", "a token", input_tensor, weight.shape[-2])
    return torch.nn.functional.embedding(input_tensor.long(), weight.reshape(weight.shape[-2:]))
