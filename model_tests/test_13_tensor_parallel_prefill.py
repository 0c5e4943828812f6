"""Stage 13, prefill: the chips of an instance read a prompt together.

Each test runs the rung of a single chip, with the model spread over the mesh as in `test_13_tensor_parallel`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_06_full_model as full_model
import test_09_prefill as prefill
import test_09_prefill_attention as prefill_attention
import test_09_prefill_layers as prefill_layers
import ttnn
from tensor_parallel import tensor_parallelism
from ttnn_models.config import ModelConfig
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import PrecisionConfig
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("tensor parallel")

PREFILLED = 333
"""Tokens of a prefill, no multiple of a tile."""


@pytest.fixture(params=["replicated", "fractured"])
def parallelism(request: pytest.FixtureRequest, model: BringupModel, mesh_device: ttnn.MeshDevice) -> Parallelism:
    """All chips of the mesh, in each row one instance."""
    return tensor_parallelism(tuple(mesh_device.shape), model.config.hidden_size, request.param)


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_tensor_parallel_prefill_attention(
    model: BringupModel,
    cache: str,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    prefill_attention.test_prefill_attention(
        model, "first", PREFILLED, cache, mesh_device, precision, weight_cache, parallelism, compare
    )


def test_tensor_parallel_prefill_modules(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    """Norm, feed-forward block, embedding and LM head of the rows of one user of each instance."""
    prefill.test_prefill_rms_norm(
        model, "first", "input_layernorm", PREFILLED, mesh_device, model_config, precision, compare
    )
    prefill.test_prefill_mlp(model, "first", PREFILLED, mesh_device, model_config, precision, weight_cache, compare)
    prefill.test_prefill_embedding(model, PREFILLED, mesh_device, precision, weight_cache, parallelism, compare)
    prefill.test_prefill_lm_head(model, PREFILLED, mesh_device, model_config, precision, weight_cache, compare)


def test_tensor_parallel_prefill_layer(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    parallelism: Parallelism,
    compare: Compare,
) -> None:
    prefill_layers.test_prefill_layer(
        model, "first", PREFILLED, mesh_device, precision, weight_cache, parallelism, compare
    )


def test_tensor_parallel_prefill_stack(
    model: BringupModel, causal_lm: CausalLM, compare: Compare, progress: Callable[[str], None]
) -> None:
    prefill_layers.test_prefill_stack(model, 200, "contiguous", causal_lm, compare, progress)


def test_tensor_parallel_prefill_then_decode(
    model: BringupModel, prefilling: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    """Prompts prefilled, one of each instance at a time, then decoded together."""
    full_model.test_full_model(model, prefilling, compare, progress)
