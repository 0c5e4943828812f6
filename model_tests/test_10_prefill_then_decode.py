"""Stage 10: prompts are prefilled one user after the other, then all users decode together.

Shapes: B users, K KV heads, S positions, h head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_06_full_model as full_model
import torch
import ttnn
from decode_inputs import read_history
from prefill_inputs import USER, new_cache
from ttnn_models.config import ModelConfig
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.model_precision import ModelPrecision
from ttnn_models.parallelism import Parallelism
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.reference.generation import answer_logits, reference_logits
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.reference.text import PASSAGE

pytestmark = pytest.mark.stage("prefill then decode")

POSITIONS = 128
"""Those of stage 7."""
PREFILLED = 70
"""Tokens of its text that are prefilled: no multiple of a tile, so that decode goes on within the last one."""
LONG, STEPS = 4096, 64


def test_prefill_then_decode(
    model: BringupModel, prefilling: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    """Text in, text out, judged as in stage 6: 32 users with prompts of different lengths."""
    full_model.test_full_model(model, prefilling, compare, progress)


def test_prefill_then_decode_users_do_not_mix(model: BringupModel, prefilling: Generator, compare: Compare) -> None:
    """A user gets the same in a full batch, in another row of it, and nearly alone."""
    full_model.test_full_model_users_do_not_mix(model, prefilling, compare)


@pytest.mark.usefixtures("one_instance")
def test_prefill_agrees_with_prefill_by_decode(
    model: BringupModel,
    generator: Generator,
    compare: Compare,
    progress: Callable[[str], None],
) -> None:
    """Both ways to read 32 prompts give the same logits, K and V: all tokens, all layers."""
    prompts = [model.encode(prompt) for prompt in model.prompts()]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    by_decode = generator.forced_logits(prompts, report=progress)
    decoded = [read_history(cache) for cache in generator.kv_caches]
    by_prefill = generator.forced_logits(prompts, prefilled=lengths.tolist(), report=progress)
    compare(
        torch.cat(by_decode), torch.cat(by_prefill), name="prefill against decode: logits", axes=("position", "token")
    )
    longest = int(lengths.max())
    read = torch.arange(longest) < lengths[:, None]  # [B, S]: positions of the user's prompt
    for layer, (cache, past) in enumerate(zip(generator.kv_caches, decoded, strict=True)):
        for part, one, other in zip(("keys", "values"), past, read_history(cache), strict=True):
            compare(
                one[:, :, :longest].transpose(1, 2)[read],
                other[:, :, :longest].transpose(1, 2)[read],  # [positions of all users, K, h]
                name=f"prefill against decode: {part} of layer {layer}",
                axes=("position", "head", "dim"),
            )


@pytest.mark.usefixtures("one_instance")
def test_prefill_then_decode_teacher_forcing(
    model: BringupModel, generator: Generator, teacher_forcing: TeacherForcing, progress: Callable[[str], None]
) -> None:
    """Stage 7, with the first part of the text prefilled."""
    text = model.passage(POSITIONS + 1)
    logits = generator.forced_logits([text[:-1]], prefilled=[PREFILLED], report=progress)[0]
    accuracy = teacher_forcing(logits, reference_logits(model.reference, text[:-1]), text[1:])
    assert accuracy.positions == POSITIONS


@pytest.mark.usefixtures("one_instance")
@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_prefill_in_chunks_then_decode(model: BringupModel, causal_lm: CausalLM, cache: str, compare: Compare) -> None:
    """A prompt in chunks of 64 gives the logits, K and V of the same prompt at once, and decode goes on alike."""
    text = model.passage(200)
    prompt = 190  # so that decode begins in the prompt's last tile, and goes on in the next
    logits, caches = [], []
    for chunk in (64, 256):
        kv_caches = [
            new_cache(cache, causal_lm.mesh_device, causal_lm.config, layer.attention.precision)
            for layer in causal_lm.decoder.layers
        ]
        generator = Generator(causal_lm, prefill_chunk=chunk, kv_caches=kv_caches)
        texts = [[text[0]]] * USER + [text]
        logits.append(generator.forced_logits(texts, prefilled=[1] * USER + [prompt])[USER])
        caches.append([read_history(it) for it in kv_caches])
    axes = ("position", "token")
    compare(logits[1], logits[0], name="prefill in chunks against at once: logits", axes=axes)
    compare(
        reference_logits(model.reference, text),
        logits[0],
        name="prefill in chunks against the reference: logits",
        axes=axes,
        max_offset_error=None,  # as in stage 5
    )
    for layer, (chunked, whole) in enumerate(zip(*caches, strict=True)):
        for part, one, other in zip(("keys", "values"), whole, chunked, strict=True):
            compare(
                one[USER, :, : len(text)],
                other[USER, :, : len(text)],
                name=f"prefill in chunks against at once: {part} of layer {layer}",
                axes=("head", "position", "dim"),
            )


@pytest.mark.slow
@pytest.mark.usefixtures("one_instance")
def test_prefill_long_then_decode(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    parallelism: Parallelism,
    model_precision: ModelPrecision,
    weight_cache: WeightCache,
    teacher_forcing: TeacherForcing,
    progress: Callable[[str], None],
) -> None:
    """4096 tokens in four chunks and 64 decode steps behind them, or as many as the model's context has room for.

    The KV cache holds the whole context.
    """
    prompt = min(LONG, int(model.config.max_position_embeddings) - STEPS)
    config = ModelConfig.from_hf(model.config, parallelism=parallelism)
    causal_lm = CausalLM.from_weights(
        mesh_device,
        config,
        model.reference.state_dict(),
        precision=model_precision,
        weight_cache=weight_cache,
        report=progress,
    )
    passage = model.encode(PASSAGE)
    text = (passage * (prompt // len(passage) + 2))[: prompt + STEPS + 1]
    generator = Generator(causal_lm)
    logits = generator.forced_logits([text[:-1]], prefilled=[prompt], report=progress)[0]
    expected = answer_logits(model.reference, text[:prompt], text[prompt:])
    accuracy = teacher_forcing(logits[prompt - 1 :], expected, text[prompt:])
    assert accuracy.positions == STEPS + 1
