"""Stage 5: decode steps read whole prompts, each user its own, and leave the KV cache as the reference's prefill."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from decode_inputs import prompts_for, read_history
from ttnn_models.generator import Generator

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import prefill_history
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("prefill by decode")


def test_prefill_by_decode(
    model: BringupModel, generator: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    prompts = [model.encode(prompt) for prompt in prompts_for(model, generator.users)]
    history, last_logits = prefill_history(model.reference, prompts)
    logits = generator.forced_logits(prompts, report=progress)
    compare(
        last_logits,
        torch.stack([rows[-1] for rows in logits]),
        name="prefill_by_decode logits after the prompt",
        axes=("user", "token"),
        # bfloat8_b weights move all logits of a user together (SmolLM2: 0.026 of their RMS); softmax ignores that.
        max_offset_error=None,
    )
    read = torch.arange(history.keys[0].shape[2]) < history.lengths[:, None]  # [B, S]: positions of the user's prompt
    for layer, cache in enumerate(generator.kv_caches):
        for name, past, cached in zip(
            ("keys", "values"), (history.keys[layer], history.values[layer]), read_history(cache), strict=True
        ):
            compare(
                past.transpose(1, 2)[read],
                cached[:, :, : past.shape[2]].transpose(1, 2)[read],  # [positions of all users, K, h]
                name=f"prefill_by_decode {name} of layer {layer}",
                axes=("position", "head", "dim"),
            )
