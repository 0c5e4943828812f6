"""Speeds that Tenstorrent published for models on its systems, to check the bounds against: none may be beaten.

Sources, in tenstorrent/tt-metal:

- README: `models/README.md`, table "LLMs", last update 3 November 2025: batch 32, prompts of 128 tokens; tokens/s/user
  of the first token after prefill.
- PERF: `models/tt_transformers/PERF.md` (called deprecated in its first line), tables "Performance" and "Accuracy", up
  to 200 tokens of one user; and "Short-Context, Batch-32", prompts of 128 tokens.

PERF says of its precisions: "performance" has the MLP in bfp4, attention in bfp8 (Llama-3.1-8B: the last layer's MLP
in bfp8); "accuracy" has the MLP in bfp8, attention and KV cache of Llama in bfp8. README states none.
Here a performance figure is laid against the bound with all of the MLP in bfloat4_b at LoFi, the fastest they can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_ttbringup.planning.roofline.operations import Operation
from pytest_ttbringup.planning.roofline.what_if import with_precision


@dataclass(frozen=True)
class Published:
    """A speed as it was published.

    Attributes:
        model: a name of `known_configs`.
        system: whose chips.
        chips: that share the model.
        users: in a decode step.
        mlp_bfp4: whether the MLP's weights are (at least in part) in bfloat4_b.
        speed: tokens/s/user.
        first_token_ms: time to first token; None where none is given.
        source: `README` or `PERF` and its table.
    """

    model: str
    system: str
    chips: int
    users: int
    mlp_bfp4: bool
    speed: float
    first_token_ms: float | None
    source: str


PUBLISHED = (
    Published("llama-3.2-1b", "n150", 1, 32, True, 80.5, 23, "README, v0.62.0-dev20251015"),
    Published("llama-3.2-1b", "n150", 1, 1, True, 87.8, 26, "PERF, Performance"),
    Published("llama-3.2-3b", "n150", 1, 32, True, 46.6, 52, "README, v0.62.0-rc35"),
    Published("llama-3.2-3b", "n150", 1, 1, True, 54.0, 55, "PERF, Performance"),
    Published("llama-3.1-8b", "n150", 1, 32, True, 26.0, 104, "README, v0.62.0-rc35"),
    Published("llama-3.1-8b", "n150", 1, 32, True, 22.3, 119, "PERF, Short-Context, Batch-32"),
    Published("llama-3.1-8b", "n150", 1, 1, True, 28.3, 104, "PERF, Performance"),
    Published("llama-3.1-8b", "n150", 1, 1, False, 25.2, 138, "PERF, Accuracy"),
    Published("llama-3.1-8b", "n300", 2, 32, True, 33.5, 80, "PERF, Short-Context, Batch-32"),
    Published("llama-3.1-8b", "n300", 2, 1, True, 44.2, 67, "PERF, Performance"),
    Published("llama-3.1-8b", "n300", 2, 1, False, 38.8, 79, "PERF, Accuracy"),
    Published("llama-3.1-8b", "t3000", 8, 1, True, 64.3, 53, "PERF, Performance"),
    Published("llama-3.1-70b", "t3000", 8, 32, True, 15.9, 159, "README, v0.59.0-rc53"),
    Published("llama-3.1-70b", "t3000", 8, 1, True, 16.6, 164, "PERF, Performance"),
)

POSITION = 128
"""Of the token that the decode step reads: the first after a prompt of 128."""


def with_mlp_bfp4(operations: Sequence[Operation], intermediate: int) -> Iterator[Operation]:
    """Operations with the MLP's weights in bfloat4_b at LoFi.

    Args:
        operations: of one chip.
        intermediate: columns of the MLP on that chip, by which its products are known.
    """
    for it in operations:
        of_mlp = it.is_matmul and intermediate in it.inputs[1].shape[-2:]
        yield with_precision(it, weights=True, fidelity=True) if of_mlp else it
