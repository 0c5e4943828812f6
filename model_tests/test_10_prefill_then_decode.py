"""Stage 10: prompts are prefilled, one user of each instance after the other, then all users decode together.

Shapes: B users, K KV heads, S positions, h head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import test_06_full_model as full_model
import test_07_teacher_forcing as forcing
import torch
import ttnn
from decode_inputs import prompts_for, read_history, texts_of_first_users
from prefill_inputs import USER, compare_rows, new_cache, texts_of
from ttnn_models.config import DECODE_BATCH, ModelConfig
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


def test_prefill_then_decode_users_join_and_leave(model: BringupModel, prefilling: Generator, compare: Compare) -> None:
    """Who joins is prefilled beside users who write: in data parallel at the same row of other instances, too."""
    full_model.test_full_model_users_join_and_leave(model, prefilling, compare)


def test_prefill_agrees_with_prefill_by_decode(
    model: BringupModel,
    generator: Generator,
    compare: Compare,
    progress: Callable[[str], None],
) -> None:
    """Both ways to read prompts give the same logits, K and V: all users, all tokens, all layers."""
    prompts = [model.encode(prompt) for prompt in prompts_for(model, generator.users)]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    by_decode = generator.forced_logits(prompts, report=progress)
    decoded = [read_history(cache) for cache in generator.kv_caches]
    by_prefill = generator.forced_logits(prompts, prefilled=lengths.tolist(), report=progress)
    parallelism = generator.model.parallelism
    longest = int(lengths.max())
    read = torch.arange(longest) < lengths[:, None]  # [B, S]: positions of the user's prompt

    def of_instances(users: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """[tokens, …] of each user, joined for each instance."""
        starts = range(0, len(users), DECODE_BATCH)
        return [torch.cat(list(users[start : start + DECODE_BATCH])) for start in starts]

    name, axes = "prefill against decode: logits", ("position", "token")
    compare_rows(compare, name, parallelism, of_instances(by_decode), of_instances(by_prefill), axes=axes)
    axes = ("position", "head", "dim")
    for layer, (cache, past) in enumerate(zip(generator.kv_caches, decoded, strict=True)):
        for part, *pair in zip(("keys", "values"), past, read_history(cache), strict=True):
            one, other = (
                of_instances([rows[mask] for rows, mask in zip(it.transpose(1, 2)[:, :longest], read, strict=True)])
                for it in pair
            )
            name = f"prefill against decode: {part} of layer {layer}"
            compare_rows(compare, name, parallelism, one, other, axes=axes)


def test_prefill_then_decode_teacher_forcing(
    model: BringupModel, generator: Generator, teacher_forcing: TeacherForcing, progress: Callable[[str], None]
) -> None:
    """Stage 7, with the first part of the text prefilled."""
    accuracies = forcing.accuracy_by_instance(model, generator, teacher_forcing, progress, prefilled=PREFILLED)
    assert [accuracy.positions for accuracy in accuracies] == [POSITIONS] * generator.model.parallelism.data


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_prefill_in_chunks_then_decode(model: BringupModel, causal_lm: CausalLM, cache: str, compare: Compare) -> None:
    """A prompt in chunks of 64 gives the logits, K and V of the same prompt at once, and decode goes on alike."""
    parallelism = causal_lm.parallelism
    passages = texts_of(model, parallelism, 200)
    # Decode begins in each prompt's last tile, and goes on in the next; instances end in different chunks.
    prompts = [max(len(passage) - 10, 1) for passage in passages]
    users = range(USER, causal_lm.config.users, DECODE_BATCH)
    texts, prefilled = [[passages[0][0]] for _ in range(users[-1] + 1)], [1] * (users[-1] + 1)
    for user, passage, prompt in zip(users, passages, prompts, strict=True):
        texts[user], prefilled[user] = passage, prompt
    logits: list[list[torch.Tensor]] = []
    caches = []
    for chunk in (64, 256):
        kv_caches = [
            new_cache(cache, causal_lm.mesh_device, causal_lm.config, layer.attention.precision)
            for layer in causal_lm.decoder.layers
        ]
        generator = Generator(causal_lm, prefill_chunk=chunk, kv_caches=kv_caches)
        of_all = generator.forced_logits(texts, prefilled=prefilled)
        logits.append([of_all[user] for user in users])
        caches.append([read_history(it) for it in kv_caches])
    axes = ("position", "token")
    chunked, whole = logits
    compare_rows(compare, "prefill in chunks against at once: logits", parallelism, whole, chunked, axes=axes)
    for instance, (passage, rows) in enumerate(zip(passages, chunked, strict=True)):
        compare(
            reference_logits(model.reference, passage),
            rows,
            name=f"prefill in chunks against the reference: logits{parallelism.chips(instance)}",
            axes=axes,
            max_offset_error=None,  # as in stage 5
        )
    for layer, pair in enumerate(zip(*caches, strict=True)):
        for part, *pasts in zip(("keys", "values"), *pair, strict=True):
            in_chunks, at_once = (
                [rows[:, : len(passage)] for rows, passage in zip(it[USER::DECODE_BATCH], passages, strict=True)]
                for it in pasts
            )
            name = f"prefill in chunks against at once: {part} of layer {layer}"
            compare_rows(compare, name, parallelism, at_once, in_chunks, axes=("head", "position", "dim"))


@pytest.mark.slow
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
    expected = answer_logits(model.reference, text[:prompt], text[prompt:])
    users, texts, lengths = texts_of_first_users(generator.users, text[:-1], prefilled=prompt)
    logits = generator.forced_logits(texts, prefilled=lengths, report=progress)
    for user in users:
        accuracy = teacher_forcing(logits[user][prompt - 1 :], expected, text[prompt:])
        assert accuracy.positions == STEPS + 1
