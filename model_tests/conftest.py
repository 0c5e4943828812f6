"""What the rungs share: the model's sizes, its converted weights, and the TT-NN model built once.

pytest reads this file even for `pytest --help`, so what is heavy is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ttbringup.options import settings_of

if TYPE_CHECKING:
    import ttnn
    from ttnn_models.config import ModelConfig
    from ttnn_models.generator import Generator
    from ttnn_models.model import CausalLM
    from ttnn_models.rotary_embedding import RotaryEmbedding
    from ttnn_models.weights import WeightCache

    from pytest_ttbringup.reference.model import BringupModel

POSITIONS = 256
"""Positions the KV cache holds for each user: room for every text of the ladder."""


@pytest.fixture
def model_config(model: BringupModel) -> ModelConfig:
    """The sizes of the TT-NN model."""
    from ttnn_models.config import ModelConfig

    return ModelConfig.from_hf(model.config, max_seq_len=min(POSITIONS, model.config.max_position_embeddings))


@pytest.fixture
def weight_cache(pytestconfig: pytest.Config) -> WeightCache:
    """Converted weights, kept on disk."""
    from ttnn_models.weights import WeightCache

    return WeightCache(settings_of(pytestconfig).cache_dir / "weights")


@pytest.fixture
def rotary(mesh_device: ttnn.MeshDevice, model_config: ModelConfig) -> RotaryEmbedding:
    """The rotary embedding that all attention modules of a model share."""
    from ttnn_models.rotary_embedding import RotaryEmbedding

    return RotaryEmbedding(mesh_device, model_config)


@pytest.fixture
def causal_lm(
    model: BringupModel, mesh_device: ttnn.MeshDevice, model_config: ModelConfig, weight_cache: WeightCache
) -> CausalLM:
    """The whole TT-NN model; the last one built is kept for the tests that follow."""
    return _built(model, mesh_device, model_config, weight_cache.directory)


@pytest.fixture
def generator(causal_lm: CausalLM) -> Generator:
    """Runs the whole TT-NN model for up to 32 users."""
    return _generator(causal_lm)


@lru_cache(maxsize=1)
def _built(model: BringupModel, mesh_device: ttnn.MeshDevice, config: ModelConfig, weights: Path | None) -> CausalLM:
    from ttnn_models.model import CausalLM
    from ttnn_models.weights import WeightCache

    return CausalLM.from_weights(mesh_device, config, model.reference.state_dict(), weight_cache=WeightCache(weights))


@lru_cache(maxsize=1)
def _generator(causal_lm: CausalLM) -> Generator:
    from ttnn_models.generator import Generator

    return Generator(causal_lm)


@pytest.fixture(scope="session", autouse=True)
def _release_models() -> Iterator[None]:
    """Let go of tensors before the interpreter ends, at which TT-NN would call them leaked."""
    yield
    _generator.cache_clear()
    _built.cache_clear()
