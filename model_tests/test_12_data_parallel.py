"""Stage 12: every chip of a mesh is an instance of the model with 32 users of its own: each module, a layer, the model.

Each test runs the rung of a single chip with 32 users per chip, whose rows TT-NN's mesh mappers deal out, and compares
by chip. Weights are replicated. Nothing is exchanged, so a chip computes what it would compute alone, to the last bit.
The model runs in two ways: one model over the whole mesh, and one on each submesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import test_02_decode_modules as modules
import test_03_decode_layer as layers
import test_04_decode_stack as stacks
import test_06_full_model as full_model
import test_07_teacher_forcing as forcing
import torch
import ttnn
from decode_inputs import decode_state, positions_at, prompts_for, write_history
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.model_precision import ModelPrecision
from ttnn_models.parallelism import SINGLE, Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.submeshes import Submeshes
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.fixtures.tensors import to_mesh
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("data parallel")

ABSENT = 58
"""Users that an uneven batch leaves out, the last: of 128 on four chips, 70 are there, and none on the last chip."""


@pytest.fixture
def parallelism(mesh_device: ttnn.MeshDevice) -> Parallelism:
    """Every chip an instance."""
    if mesh_device.get_num_devices() == 1:
        pytest.skip("data parallel wants several chips; for instance --tt-mesh=1x4")
    return Parallelism.over(tuple(mesh_device.shape), "dp")


@pytest.mark.parametrize("norm", ["input_layernorm", "post_attention_layernorm"])
def test_data_parallel_rms_norm(
    model: BringupModel,
    norm: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    compare: Compare,
) -> None:
    modules.test_decode_rms_norm(model, "first", norm, mesh_device, model_config, precision, compare)


def test_data_parallel_rotary(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    compare: Compare,
) -> None:
    modules.test_decode_rotary(model, "first", "mixed", mesh_device, model_config, rotary, compare)


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_data_parallel_attention(
    model: BringupModel,
    layer: LayerKey,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    modules.test_decode_attention(
        model, layer, "mixed", cache, mesh_device, model_config, rotary, precision, weight_cache, compare
    )


def test_data_parallel_mlp(
    model: BringupModel,
    layer: LayerKey,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    modules.test_decode_mlp(model, layer, mesh_device, model_config, precision, weight_cache, compare)


def test_data_parallel_embedding(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    modules.test_decode_embedding(model, mesh_device, model_config, precision, weight_cache, compare)


def test_data_parallel_lm_head(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    modules.test_decode_lm_head(model, mesh_device, model_config, precision, weight_cache, compare)


def test_data_parallel_layer(
    model: BringupModel,
    layer: LayerKey,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    """As the rung; and each chip's users get what they get on a single chip, bit for bit."""
    layers.test_decode_layer(model, layer, "mixed", mesh_device, model_config, rotary, precision, weight_cache, compare)
    users, slots = model_config.users, model_config.max_seq_len
    x = model.decode_activations(users, layer=layer)[None, None]
    keys, values = model.decode_history(slots, users, layer=layer)
    positions = positions_at("mixed", slots, users)

    def output(config: ModelConfig, chosen: slice) -> torch.Tensor:
        built = DecoderLayer.from_weights(
            mesh_device,
            config,
            model.layer_weights(layer),
            rotary=rotary,
            precision=precision,
            weight_cache=weight_cache,
        )
        kv_cache = ContiguousKVCache(mesh_device, config, precision=precision)
        write_history(kv_cache, keys[chosen], values[chosen], slots)
        state = decode_state(mesh_device, positions[chosen], parallelism=config.parallelism)
        rows = to_mesh(x[:, :, chosen], lambda: mesh_device, config.parallelism.spread("residual", "residual"))
        tables = rotary.decode_tables(state.rotary_positions)
        out = built.decode(rows, positions=state.positions, rotary_tables=tables, kv_cache=kv_cache)
        return config.parallelism.join(out, data=2)

    together = output(model_config, slice(None))
    for chip in range(model_config.parallelism.data):
        own = slice(chip * DECODE_BATCH, (chip + 1) * DECODE_BATCH)
        alone = output(replace(model_config, parallelism=SINGLE), own)
        differing = (together[0, 0, own] != alone[0, 0]).any(-1).nonzero().flatten().tolist()
        compare.check(f"chip {chip} computes what one chip does", not differing, f"not for its users {differing}")


def test_data_parallel_stack(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, progress: Callable[[str], None]
) -> None:
    stacks.test_decode_stack(model, causal_lm, compare, progress)


def test_data_parallel_model(
    model: BringupModel, generator: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    """Text in, text out for 32 users on every chip."""
    full_model.test_full_model(model, generator, compare, progress)


def test_data_parallel_users_do_not_mix(model: BringupModel, generator: Generator, compare: Compare) -> None:
    """A user gets the same on another chip, and beside fewer others."""
    full_model.test_full_model_users_do_not_mix(model, generator, compare)


def test_data_parallel_uneven(model: BringupModel, generator: Generator, compare: Compare) -> None:
    """Fewer users than places: those who are there get the same, and of the others nothing is written."""
    every = [model.encode(prompt) for prompt in prompts_for(model, generator.users)]
    there = max(1, len(every) - ABSENT)
    caches = generator.model.new_kv_caches()
    few = Generator(generator.model, kv_caches=caches).generate(every[:there], max_new_tokens=2)
    full = generator.generate(every, max_new_tokens=2)
    differing = [user for user, (one, other) in enumerate(zip(few, full, strict=False)) if one != other]
    compare.check(f"{there} of {len(every)} users get what they get in a full batch", not differing, f"{differing}")
    for number, cache in enumerate(caches):
        for part, values in zip(("keys", "values"), cache.to_torch(), strict=True):
            written = values.flatten(1).any(-1)
            compare.check(f"layer {number}: {part} of every user there are written", bool(written[:there].all()))
            wrong = (written[there:].nonzero().flatten() + there).tolist()
            compare.check(f"layer {number}: no {part} of absent users are", not wrong, f"those of {wrong} are")


def test_data_parallel_teacher_forcing(
    model: BringupModel, generator: Generator, teacher_forcing: TeacherForcing, progress: Callable[[str], None]
) -> None:
    """The text read by the first user of every chip."""
    accuracies = forcing.accuracy_by_instance(model, generator, teacher_forcing, progress)
    assert len(accuracies) == generator.model.mesh_device.get_num_devices()


def test_data_parallel_by_submeshes(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    model_precision: ModelPrecision,
    weight_cache: WeightCache,
    compare: Compare,
    progress: Callable[[str], None],
) -> None:
    """A model on each chip's submesh, which prefills prompts, too."""
    alone = replace(model_config, parallelism=SINGLE)
    submeshes = Submeshes.from_weights(
        mesh_device,
        alone,
        model.reference.state_dict(),
        precision=model_precision,
        weight_cache=weight_cache,
        report=progress,
        prefill=True,
    )
    full_model.test_full_model(model, submeshes, compare, progress)
