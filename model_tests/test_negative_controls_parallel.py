"""Each fault of a mesh turns its rung of stages 12 and 13 red, and the message names the chips that differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import test_02_decode_modules as modules
import test_13_tensor_parallel as tensor_parallel
import torch
import ttnn
from evidence import compared_by
from faults import stale_sum
from tensor_parallel import AgainstOneChip, tensor_parallelism
from ttnn_models.collectives import Collectives
from ttnn_models.config import ModelConfig
from ttnn_models.head_split import HeadSplit
from ttnn_models.parallelism import Parallelism
from ttnn_models.precision import DEFAULT_PRECISION, PrecisionConfig
from ttnn_models.rms_norm import RMSNorm
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import UNCACHED, WeightCache

from pytest_ttbringup.comparison import ComparisonFailure
from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.stages import stage_of

Rung = Callable[[str], None]


@pytest.fixture
def parallelism(model: BringupModel, mesh_device: ttnn.MeshDevice) -> Parallelism:
    """Tensor parallel; each row of a mesh of several is an instance."""
    return tensor_parallelism(tuple(mesh_device.shape), model.config.hidden_size, "replicated")


@pytest.fixture
def as_parallel(request: pytest.FixtureRequest) -> Compare:
    """`compare` as the rung has it."""
    return Compare(request, rung=stage_of("tensor parallel"))


@pytest.fixture
def rung(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    as_parallel: Compare,
) -> Rung:
    """Runs one of the rungs that the faults are meant for."""
    place = mesh_device, model_config
    rungs: dict[str, Callable[[], None]] = {
        "mlp": partial(modules.test_decode_mlp, model, "first", *place, DEFAULT_PRECISION, UNCACHED, as_parallel),
        "attention": partial(
            modules.test_decode_attention,
            model,
            "first",
            "mixed",
            "contiguous",
            *place,
            rotary,
            DEFAULT_PRECISION,
            UNCACHED,
            as_parallel,
        ),
        "kv_heads": partial(
            tensor_parallel.test_tensor_parallel_kv_heads, model, *place, rotary, DEFAULT_PRECISION, as_parallel
        ),
        "embedding": partial(modules.test_decode_embedding, model, *place, DEFAULT_PRECISION, UNCACHED, as_parallel),
    }
    return lambda name: rungs[name]()


@pytest.mark.parametrize(
    ("name", "comparisons"),
    [
        pytest.param(name, comparisons, id=name)
        for name, comparisons in {"mlp": 1, "attention": 5, "kv_heads": 2, "embedding": 1}.items()
    ],
)
def test_without_a_fault_the_rungs_are_green(
    rung: Rung, name: str, comparisons: int, request: pytest.FixtureRequest
) -> None:
    assert len(compared_by(request, lambda: rung(name))) == comparisons


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_a_missing_all_reduce_is_red(rung: Rung, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chip goes on with its own summand."""
    monkeypatch.setattr(Collectives, "all_reduce", lambda _, partial, __: partial)
    with pytest.raises(ComparisonFailure, match=r"by chip +none of \d+ at 0\.999 or better; chip \d"):
        rung(name)


def test_shards_in_another_order_are_red(rung: Rung, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of `down` are dealt out from the last chip on."""
    load = WeightCache.load

    def turned(self: WeightCache, name: str, tensor: torch.Tensor, *, device: Any, **how: Any) -> ttnn.Tensor:
        if name == "mlp.down_proj.weight":
            tensor = torch.cat(tensor.chunk(device.shape[1], dim=2)[::-1], dim=2)
        return load(self, name, tensor, device=device, **how)

    monkeypatch.setattr(WeightCache, "load", turned)
    with pytest.raises(ComparisonFailure, match=r"by chip +none of \d+ at 0\.999 or better; chip \d"):
        rung("mlp")


def test_a_wrong_shard_axis_is_refused(rung: Rung, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` by columns instead of by rows: TT-NN's own check of the product, before a value is compared."""
    load = WeightCache.load

    def by_columns(self: WeightCache, name: str, tensor: torch.Tensor, **how: Any) -> ttnn.Tensor:
        if name == "mlp.down_proj.weight":
            device = how["device"]
            how["mesh_mapper"] = Parallelism.over(device.shape, "tp" if 1 in device.shape else "dpxtp").mapper(tensor=3)
        return load(self, name, tensor, **how)

    monkeypatch.setattr(WeightCache, "load", by_columns)
    with pytest.raises(RuntimeError, match="The width of the first tensor must be equal to the height of the second"):
        rung("mlp")


def test_a_wrong_cluster_axis_is_red(rung: Rung, parallelism: Parallelism, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over the instances instead of over the chips of each."""
    if parallelism.data == 1:
        pytest.skip("a mesh of one row has one axis to sum over; for instance --tt-mesh=2x2")
    build = Collectives.__init__

    def other(self: Collectives, parallelism: Parallelism, *precision: PrecisionConfig) -> None:
        build(self, parallelism, *precision)
        self.axis = 1 - self.axis

    monkeypatch.setattr(Collectives, "__init__", other)
    with pytest.raises(ComparisonFailure, match=r"by chip +none of \d+ at 0\.999 or better; chip \d"):
        rung("mlp")


def test_a_kv_head_on_the_wrong_chip_is_red(
    rung: Rung, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last chip that has heads has the first one's KV heads."""
    fused, split = HeadSplit.fused, model_config.head_split
    slots, last = split.slots, max(slot for slot, head in enumerate(split.kv_heads) if head is not None) // split.slots
    exchanged = (*split.kv_heads[: last * slots], *split.kv_heads[:slots], *split.kv_heads[(last + 1) * slots :])
    wrong = replace(split, kv_heads=exchanged)
    monkeypatch.setattr(HeadSplit, "fused", lambda _, *projections: fused(wrong, *projections))
    with pytest.raises(ComparisonFailure, match=rf"(?s)by chip +.*chip {last}: .*"):
        rung("kv_heads")
    with pytest.raises(ComparisonFailure, match=r"PCC -?\d\.\d+ < 0\.999"):
        rung("attention")


def test_a_stale_replica_is_red(rung: Rung, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    stale_sum(monkeypatch)
    chips = model_config.parallelism.data * model_config.parallelism.tensor
    with pytest.raises(ComparisonFailure, match=rf"by chip +{chips - 1} of {chips} at .* better; chip {chips - 1}: "):
        rung("mlp")


def test_a_stale_weight_replica_is_red(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    as_parallel: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data parallel; one chip has another layer's weights."""
    data_parallel = Parallelism.over(tuple(mesh_device.shape), "dp")
    config = replace(model_config, parallelism=data_parallel)
    other = model.layer_weights("last")
    load, chips = WeightCache.load, data_parallel.data

    def stale(self: WeightCache, name: str, tensor: torch.Tensor, **how: Any) -> ttnn.Tensor:
        copies = [tensor] * (chips - 1) + [other[name].T[None, None]]
        return load(self, name, torch.cat(copies), **how | {"mesh_mapper": data_parallel.mapper(data=0)})

    monkeypatch.setattr(WeightCache, "load", stale)
    with pytest.raises(ComparisonFailure, match=rf"by chip +{chips - 1} of {chips} at .* better; chip {chips - 1}: "):
        modules.test_decode_mlp(model, "first", mesh_device, config, DEFAULT_PRECISION, UNCACHED, as_parallel)


@pytest.fixture
def fractured(mesh_device: ttnn.MeshDevice, model_config: ModelConfig) -> ModelConfig:
    """The model whose residual is dealt out by columns."""
    spread = tensor_parallelism(tuple(mesh_device.shape), model_config.hidden_size, "fractured")
    return replace(model_config, parallelism=spread)


def test_a_reduce_scatter_without_a_sum_is_red(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    fractured: ModelConfig,
    as_parallel: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every chip goes on with its columns of its own summand."""

    def scatter(self: Collectives, partial: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        return ttnn.mesh_partition(partial, dim=3, cluster_axis=self.axis, memory_config=memory_config)

    def rung() -> None:
        modules.test_decode_mlp(model, "first", mesh_device, fractured, DEFAULT_PRECISION, UNCACHED, as_parallel)

    rung()  # green
    monkeypatch.setattr(Collectives, "reduce_scatter", scatter)
    with pytest.raises(ComparisonFailure, match=r"by chip +none of \d+ at 0\.999 or better; chip \d"):
        rung()


def test_a_norm_by_a_chips_own_statistics_is_red(
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    fractured: ModelConfig,
    as_parallel: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each chip takes the others' sums of squares for equal to its own."""
    distributed, chips = RMSNorm._distributed, fractured.parallelism.tensor

    def alone(self: RMSNorm, x: ttnn.Tensor, memory_config: ttnn.MemoryConfig) -> ttnn.Tensor:
        gather = iter([lambda own, _: ttnn.concat([own] * chips, dim=3), self.collectives.all_gather])
        monkeypatch.setattr(self.collectives, "all_gather", lambda *tensor: next(gather)(*tensor))
        return distributed(self, x, memory_config)

    def rung() -> None:
        tensor_parallel.test_tensor_parallel_rms_norm(
            model,
            "input_layernorm",
            mesh_device,
            fractured,
            DEFAULT_PRECISION,
            as_parallel,
            AgainstOneChip(mesh_device, fractured, as_parallel),
        )

    rung()  # green
    monkeypatch.setattr(RMSNorm, "_distributed", alone)
    with pytest.raises(ComparisonFailure, match=r"PCC 0\.\d+ < 0\.99"):
        rung()
