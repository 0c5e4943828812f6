"""What the rungs share: the model's sizes, its converted weights, and the TT-NN model built once.

pytest reads this file even for `pytest --help`, so what is heavy is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import PRESETS
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.planning.parallel_kind import planned_kind
from pytest_ttbringup.targets.systems import system_of

if TYPE_CHECKING:
    import ttnn
    from ttnn_models.config import ModelConfig
    from ttnn_models.generator import Generator
    from ttnn_models.model import CausalLM
    from ttnn_models.model_precision import ModelPrecision
    from ttnn_models.parallelism import Parallelism
    from ttnn_models.precision import PrecisionConfig
    from ttnn_models.rotary_embedding import RotaryEmbedding
    from ttnn_models.weights import WeightCache

    from pytest_ttbringup.fixtures.compare import Compare
    from pytest_ttbringup.reference.model import BringupModel

POSITIONS = 256
"""Positions the KV cache holds for each user: room for every text of the ladder."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a wrong precision file before any device is opened."""
    settings = settings_of(session.config)
    if settings.precision in PRESETS:
        return
    from ttnn_models.precision_file import read_precision

    from pytest_ttbringup.reference import catalog

    try:
        precision = read_precision(Path(settings.precision))
        for model in settings.models:
            precision.check(catalog.layer_count(model), catalog.resolve(model).name)
    except BringupError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def model_precision(pytestconfig: pytest.Config) -> ModelPrecision:
    """The precision of the whole model and of each layer, as `--tt-precision` says."""
    from ttnn_models.precision_file import precision_of

    return precision_of(settings_of(pytestconfig).precision)


@pytest.fixture
def precision(request: pytest.FixtureRequest, model_precision: ModelPrecision) -> PrecisionConfig:
    """That of the module under test: of the test's `layer`, or the model's if it has none."""
    if "layer" not in request.fixturenames:
        return model_precision.model
    model: BringupModel = request.getfixturevalue("model")
    index = model.layer_index(request.getfixturevalue("layer"))
    return model_precision.of_layer(index, model.config.num_hidden_layers)


@pytest.fixture
def parallelism(model: BringupModel, pytestconfig: pytest.Config) -> Parallelism:
    """How the model is spread over the mesh: as `--tt-parallel` says, else as its plan does."""
    from ttnn_models.parallelism import SINGLE, Parallelism

    settings = settings_of(pytestconfig)
    if settings.mesh == (1, 1):
        return SINGLE
    kind = settings.parallel or planned_kind(
        model.config, model.name, system_of(settings.system), settings.mesh, context=POSITIONS
    )
    return Parallelism.over(settings.mesh, kind)


@pytest.fixture
def model_config(model: BringupModel, parallelism: Parallelism) -> ModelConfig:
    """The sizes of the TT-NN model, and how it is spread."""
    from ttnn_models.config import ModelConfig

    positions = min(POSITIONS, model.config.max_position_embeddings)
    return ModelConfig.from_hf(model.config, max_seq_len=positions, parallelism=parallelism)


@pytest.fixture
def weight_cache(pytestconfig: pytest.Config) -> WeightCache:
    """Converted weights, kept on disk."""
    from ttnn_models.weights import WeightCache

    return WeightCache(settings_of(pytestconfig).cache_dir / "weights")


@pytest.fixture
def rotary(mesh_device: ttnn.MeshDevice, model_config: ModelConfig, model_precision: ModelPrecision) -> RotaryEmbedding:
    """The rotary embedding that all attention modules of a model share."""
    from ttnn_models.rotary_embedding import RotaryEmbedding

    return RotaryEmbedding(mesh_device, model_config, precision=model_precision.model)


@pytest.fixture(scope="session")
def _built() -> Iterator[dict[str, Any]]:
    """The last TT-NN model built; let go of before the interpreter ends, when TT-NN would call its tensors leaked."""
    built: dict[str, Any] = {}
    yield built
    built.clear()


@pytest.fixture
def causal_lm(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    model_precision: ModelPrecision,
    weight_cache: WeightCache,
    progress: Callable[[str], None],
    _built: dict[str, Any],
) -> CausalLM:
    """The whole TT-NN model, kept for the tests that follow."""
    from ttnn_models.model import CausalLM

    wanted = {"model": model, "mesh_device": mesh_device, "model_config": model_config}
    if any(_built.get(name) != value for name, value in wanted.items()):
        _built.clear()  # before the next one takes its memory
        weights = model.reference.state_dict()
        built = CausalLM.from_weights(
            mesh_device,
            model_config,
            weights,
            precision=model_precision,
            weight_cache=weight_cache,
            report=progress,
        )
        _built.update(wanted, causal_lm=built)
    kept: CausalLM = _built["causal_lm"]
    return kept


@pytest.fixture
def generator(causal_lm: CausalLM, _built: dict[str, Any]) -> Generator:
    """Runs the whole TT-NN model for up to 32 users of each instance; kept like it, since its KV caches are large."""
    from ttnn_models.generator import Generator

    if "generator" not in _built:
        _built["generator"] = Generator(causal_lm)
    kept: Generator = _built["generator"]
    return kept


@pytest.fixture
def prefilling(causal_lm: CausalLM, generator: Generator, _built: dict[str, Any]) -> Generator:
    """As `generator`, on the same KV caches, but it prefills prompts."""
    from ttnn_models.generator import Generator

    if "prefilling" not in _built:
        _built["prefilling"] = Generator(causal_lm, prefill=True, kv_caches=generator.kv_caches)
    kept: Generator = _built["prefilling"]
    return kept


@pytest.fixture
def as_prefill(request: pytest.FixtureRequest) -> Compare:
    """`compare` as the rung of prefill has it, for negative controls of that rung."""
    from pytest_ttbringup.fixtures.compare import Compare
    from pytest_ttbringup.stages import stage_of

    return Compare(request, rung=stage_of("prefill"))
