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
from prefill_inputs import USER, used_cache
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.model_precision import ModelPrecision
from ttnn_models.parallelism import SINGLE, Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.prefilling import Prefilling
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.submeshes import Submeshes
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.fixtures.tensors import to_mesh
from pytest_ttbringup.generation.sampling import SamplingConfig
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("data parallel")


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


@pytest.mark.parametrize("prefill", [False, True], ids=["by decode", "by prefill"])
@pytest.mark.parametrize("there", ["one", "odd"])
def test_data_parallel_uneven(
    model: BringupModel, generator: Generator, compare: Compare, there: str, prefill: bool
) -> None:
    """Fewer users than places: those who are there get the same, and of the others nothing is written.

    One is alone on the first chip; an odd number leaves the others out of the last round.
    """
    every = [model.encode(prompt) for prompt in prompts_for(model, generator.users)]
    some = 1 if there == "one" else len(every) // 2 + 1
    causal_lm, caches = generator.model, generator.model.new_kv_caches()
    few = Generator(causal_lm, prefill=prefill, kv_caches=caches).generate(every[:some], max_new_tokens=2)
    whole = Generator(causal_lm, prefill=prefill, kv_caches=generator.kv_caches)
    full = whole.generate(every, max_new_tokens=2)
    differing = [user for user, (one, other) in enumerate(zip(few, full, strict=False)) if one != other]
    compare.check(f"{some} of {len(every)} users get what they get in a full batch", not differing, f"{differing}")
    rows, more = divmod(some, causal_lm.parallelism.data)  # of each chip, and chips that have one more
    taken = torch.arange(DECODE_BATCH) < rows + (torch.arange(causal_lm.parallelism.data) < more)[:, None]
    for number, cache in enumerate(caches):
        for part, values in zip(("keys", "values"), cache.to_torch(), strict=True):
            written = values.flatten(1).any(-1).unflatten(0, (-1, DECODE_BATCH))
            places = (written != taken).nonzero().tolist()
            compare.check(
                f"layer {number}: {part} of those who are there are written, and of no others",
                not places,
                f"not so for [chip, row] {places}",
            )


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_data_parallel_prefill_of_one(model: BringupModel, causal_lm: CausalLM, cache: str, compare: Compare) -> None:
    """A prompt on one chip, in chunks, changes nothing on the others, where users at the same row may be writing."""
    instances = causal_lm.parallelism.data
    alone: list[torch.Tensor] = []
    for reader in range(instances):
        caches = [
            used_cache(cache, causal_lm.mesh_device, causal_lm.config, layer.attention.precision)
            for layer in causal_lm.decoder.layers
        ]
        before = [it.to_torch() for it in caches]
        slot = reader * DECODE_BATCH + USER
        prefilling = Prefilling(causal_lm, caches, longest=64)
        alone.append(prefilling.logits({slot: model.passage(100)})[slot])
        for number, (past, it) in enumerate(zip(before, caches, strict=True)):
            for part, one, other in zip(("keys", "values"), past, it.to_torch(), strict=True):
                changed = (one != other).flatten(1).any(-1).nonzero().flatten().tolist()
                found = [f"user {user}{causal_lm.parallelism.chips(user // DECODE_BATCH)}" for user in changed]
                name = f"layer {number}: a prompt on chip {reader} changes the {part} of its user, and no others"
                compare.check(name, changed == [slot], f"changed: {found}")
    differing = [chip for chip, logits in enumerate(alone) if not torch.equal(logits, alone[0])]
    compare.check("a prompt gives the same on each chip", not differing, f"other logits on chips {differing}")


@pytest.mark.parametrize("top_k", [20, None], ids=["drawn on the device", "drawn on the host"])
def test_data_parallel_draws_behind_prefill(
    model: BringupModel, generator: Generator, compare: Compare, top_k: int | None
) -> None:
    """Prompts prefilled together, one on each chip: each draws from its own logits, whichever chip it is on."""
    chips = generator.model.parallelism.data
    prompts = [model.encode(prompt) for prompt in prompts_for(model, chips)]
    samplings = [SamplingConfig(1.0, top_k=top_k, seed=seed) for seed in range(chips)]
    prefilling = Generator(generator.model, prefill=True, kv_caches=generator.kv_caches)
    drawn = prefilling.generate(prompts, max_new_tokens=2, sampling=samplings)
    turned = prefilling.generate(prompts[::-1], max_new_tokens=2, sampling=samplings[::-1])[::-1]
    differing = [chip for chip, (one, other) in enumerate(zip(drawn, turned, strict=True)) if one != other]
    compare.check("a prompt and a seed draw the same on another chip", not differing, f"not those of chips {differing}")


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
