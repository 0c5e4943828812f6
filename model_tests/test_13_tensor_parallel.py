"""Stage 13: the chips of a mesh share the weights of one model: each module alone, a layer, the stack, text.

Each test runs the rung of a single chip, by chip, with the model spread over the mesh: all chips of a row or column
("tensor parallel"), or each row of a mesh of several as an instance of its own ("data x tensor parallel"). Then it
compares with the same TT-NN module on one chip: apart from that, sums are taken in another order and rounded once more.

Shapes: B users, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_02_decode_modules as modules
import test_03_decode_layer as layers
import test_04_decode_stack as stacks
import test_06_full_model as full_model
import test_07_teacher_forcing as forcing
import torch
import ttnn
from decode_inputs import cached_by_chip, decode_state, heads_by_chip, positions_at, write_history
from tensor_parallel import AgainstOneChip, Decode, tensor_parallelism
from ttnn_models.attention import Attention
from ttnn_models.config import DECODE_BATCH, ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.embedding import Embedding
from ttnn_models.generator import Generator
from ttnn_models.lm_head import LMHead
from ttnn_models.mlp import MLP
from ttnn_models.model import CausalLM
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rms_norm import RMSNorm
from ttnn_models.rope import to_interleaved
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.fixtures.tensors import to_mesh
from pytest_ttbringup.reference.decode import reference_decode_attention
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("tensor parallel")


@pytest.fixture(params=["replicated", "fractured"])
def parallelism(request: pytest.FixtureRequest, model: BringupModel, mesh_device: ttnn.MeshDevice) -> Parallelism:
    """All chips of the mesh, in each row one instance."""
    return tensor_parallelism(tuple(mesh_device.shape), model.config.hidden_size, request.param)


@pytest.fixture
def against_one_chip(mesh_device: ttnn.MeshDevice, model_config: ModelConfig, compare: Compare) -> AgainstOneChip:
    """`against_one_chip(name, build, x, given, taken)`."""
    return AgainstOneChip(mesh_device, model_config, compare)


@pytest.mark.parametrize("norm", ["input_layernorm", "post_attention_layernorm"])
def test_tensor_parallel_rms_norm(
    model: BringupModel,
    norm: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    """Of a fractured residual: statistics of each chip's columns, exchanged."""
    modules.test_decode_rms_norm(model, "first", norm, mesh_device, model_config, precision, compare)
    weight = model.layer_weights("first")[f"{norm}.weight"]
    x = model.decode_activations(model_config.users)[None, None]
    against_one_chip(
        "rms_norm",
        lambda config, _: RMSNorm(mesh_device, config, weight, precision=precision).decode,
        x,
        "residual",
        "whole",
    )


def test_tensor_parallel_mlp(
    model: BringupModel,
    layer: LayerKey,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    """Gate and up by columns, down by rows; one reduction."""
    modules.test_decode_mlp(model, layer, mesh_device, model_config, precision, weight_cache, compare)
    weights = model.layer_weights(layer)
    x = model.decode_activations(model_config.users, layer=layer, point="mlp")[None, None]
    against_one_chip(
        "mlp", lambda config, _: MLP(mesh_device, config, weights, precision=precision).decode, x, "whole", "residual"
    )


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_tensor_parallel_attention(
    model: BringupModel,
    layer: LayerKey,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    """Heads by chip, KV heads on every chip that has queries of theirs; output projection by rows; one reduction."""
    modules.test_decode_attention(
        model, layer, "mixed", cache, mesh_device, model_config, rotary, precision, weight_cache, compare
    )
    users, slots = model_config.users, model_config.max_seq_len
    keys, values = model.decode_history(slots, users, layer=layer)
    positions = positions_at("mixed", slots, users)

    def build(config: ModelConfig, chosen: slice) -> Decode:
        attention = Attention(mesh_device, config, model.layer_weights(layer), rotary=rotary, precision=precision)
        step = _step(mesh_device, config, precision, rotary, keys[chosen], values[chosen], positions[chosen])
        return lambda x: attention.decode(x, **step)

    x = model.decode_activations(users, layer=layer, point="attention")[None, None]
    against_one_chip(f"attention {cache}", build, x, "whole", "residual")


def test_tensor_parallel_kv_heads(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    compare: Compare,
) -> None:
    """Every chip writes the KV heads that its query heads want, by chip."""
    users, slots = model_config.users, model_config.max_seq_len
    keys, values = model.decode_history(slots, users)
    positions = positions_at("mixed", slots, users)
    x = model.decode_activations(users, point="attention")
    expected = reference_decode_attention(model.reference, 0, x, keys, values, positions)
    attention = Attention(mesh_device, model_config, model.layer_weights("first"), rotary=rotary, precision=precision)
    step = _step(mesh_device, model_config, precision, rotary, keys, values, positions)
    spread = model_config.parallelism.spread("whole", "residual")
    attention.decode(to_mesh(x[None, None], lambda: mesh_device, spread), **step)
    cache = step["kv_cache"]
    for name, written, cached in (
        ("keys", to_interleaved(expected.keys), cache.keys),
        ("values", expected.values, cache.values),
    ):
        compare(
            heads_by_chip(model_config, written),
            cached_by_chip(model_config, cached, positions),
            name=f"{name} of every chip",
            axes=("chip", "user", "head", "dim"),
        )


def test_tensor_parallel_embedding(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    """The table by columns: no sum, and so the very values of one chip."""
    modules.test_decode_embedding(model, mesh_device, model_config, precision, weight_cache, compare)
    tokens = torch.arange(model_config.users).reshape(-1, DECODE_BATCH) * 7 % model_config.vocab_size
    against_one_chip(
        "embedding",
        lambda config, _: (
            Embedding(mesh_device, config, model.weights(), precision=precision, weight_cache=weight_cache).decode
        ),
        tokens,
        "tokens",
        "residual",
    )


def test_tensor_parallel_lm_head(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    """The vocabulary by chip: logits on every chip, and the best token of each user."""
    modules.test_decode_lm_head(model, mesh_device, model_config, precision, weight_cache, compare)
    x = model.reference.model.norm(model.decode_activations(model_config.users, layer="last")).detach()[None, None]

    def build(config: ModelConfig, _: slice) -> Decode:
        return LMHead(mesh_device, config, model.weights(), precision=precision, weight_cache=weight_cache).decode

    against_one_chip("lm_head", build, x, "whole", "whole")
    spread = model_config.parallelism.spread("whole", "whole")
    logits = build(model_config, slice(None))(to_mesh(x, lambda: mesh_device, spread))
    best = model_config.parallelism.join(LMHead.greedy(logits), data=2).flatten().tolist()
    greatest = model_config.parallelism.join(logits, data=2).float()[0, 0]
    wrong = [user for user, token in enumerate(best) if greatest[user, int(token)] != greatest[user].max()]
    compare.check("every user's token has the greatest logit of the whole vocabulary", not wrong, f"not users {wrong}")


def test_tensor_parallel_layer(
    model: BringupModel,
    layer: LayerKey,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
    against_one_chip: AgainstOneChip,
) -> None:
    layers.test_decode_layer(model, layer, "mixed", mesh_device, model_config, rotary, precision, weight_cache, compare)
    users, slots = model_config.users, model_config.max_seq_len
    keys, values = model.decode_history(slots, users, layer=layer)
    positions = positions_at("mixed", slots, users)

    def build(config: ModelConfig, chosen: slice) -> Decode:
        built = DecoderLayer.from_weights(
            mesh_device,
            config,
            model.layer_weights(layer),
            rotary=rotary,
            precision=precision,
            weight_cache=weight_cache,
        )
        step = _step(mesh_device, config, precision, rotary, keys[chosen], values[chosen], positions[chosen])
        return lambda x: built.decode(x, **step)

    x = model.decode_activations(users, layer=layer)[None, None]
    against_one_chip("layer", build, x, "residual", "residual")


def test_tensor_parallel_stack(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, progress: Callable[[str], None]
) -> None:
    stacks.test_decode_stack(model, causal_lm, compare, progress)


def test_tensor_parallel_model(
    model: BringupModel, generator: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    """Text in, text out; users do not mix, and tokens are chosen on the device from the whole vocabulary."""
    full_model.test_full_model(model, generator, compare, progress)
    full_model.test_full_model_decodes_on_the_device(model, generator, compare)


def test_tensor_parallel_teacher_forcing(
    model: BringupModel, generator: Generator, teacher_forcing: TeacherForcing, progress: Callable[[str], None]
) -> None:
    accuracies = forcing.accuracy_by_instance(model, generator, teacher_forcing, progress)
    assert len(accuracies) == generator.model.parallelism.data


def _step(
    mesh_device: ttnn.MeshDevice,
    config: ModelConfig,
    precision: PrecisionConfig,
    rotary: RotaryEmbedding,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
) -> dict[str, Any]:
    """What a decode step takes beside its rows: users at these positions, and a cache with their past."""
    kv_cache = ContiguousKVCache(mesh_device, config, precision=precision)
    write_history(kv_cache, keys, values, config.max_seq_len)
    state = decode_state(mesh_device, positions, parallelism=config.parallelism)
    tables = rotary.decode_tables(state.rotary_positions)
    return {"positions": state.positions, "rotary_tables": tables, "kv_cache": kv_cache}
