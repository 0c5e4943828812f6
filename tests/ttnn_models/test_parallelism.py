"""How a mesh is used, and what is refused before a device is opened."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ttnn_models.config import ModelConfig
from ttnn_models.parallelism import SINGLE, Parallelism

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.parallel import Kind, degrees
from pytest_ttbringup.planning.parallel_kind import planned_kind
from pytest_ttbringup.planning.sources import config_of
from pytest_ttbringup.targets.systems import system_of

from .test_config import hf_config


@pytest.mark.parametrize(
    ("mesh", "kind", "expected"),
    [
        ((1, 4), "dp", (4, 1)),
        ((2, 4), "dp", (8, 1)),
        ((1, 4), "tp", (1, 4)),
        ((8, 1), "tp", (1, 8)),
        ((2, 4), "dpxtp", (2, 4)),
        ((1, 1), "tp", (1, 1)),
    ],
)
def test_instances_and_their_chips(mesh: tuple[int, int], kind: Kind, expected: tuple[int, int]) -> None:
    assert degrees(mesh, kind) == expected
    parallelism = Parallelism.over(mesh, kind)
    assert (parallelism.data, parallelism.tensor) == expected


def test_sums_go_along_the_axis_that_the_chips_lie_on() -> None:
    assert Parallelism.over((1, 8), "tp").tensor_axis == 1
    assert Parallelism.over((8, 1), "tp").tensor_axis == 0
    assert Parallelism.over((2, 4), "dpxtp").tensor_axis == 1


@pytest.mark.parametrize(
    ("mesh", "kind", "message"),
    [
        ((2, 4), "tp", r"wants its chips along one row or column.* 1x8 mesh, or dpxtp: 2 instances of 4 chips"),
        ((1, 4), "dpxtp", r"a 1x4 mesh has only one row or column. Use dp or tp, or a mesh such as 2x4"),
        ((1, 4), "pp", r"parallelism 'pp' is none of dp, tp, dpxtp"),
    ],
)
def test_meshes_that_can_not_be_used_so(mesh: tuple[int, int], kind: Any, message: str) -> None:
    with pytest.raises(BringupError, match=message):
        Parallelism.over(mesh, kind)


def test_a_model_says_what_can_not_be_spread() -> None:
    with pytest.raises(
        BringupError, match=r"8 chips: hidden_size = 128 .* evenly in units of 32.* divide it: 1, 2, 4\."
    ):
        ModelConfig.from_hf(hf_config(), parallelism=Parallelism(tensor=8, residual="fractured"))
    with pytest.raises(
        BringupError, match=r"3 chips: hidden_size = 128 can't be dealt out evenly\. .*: 1, 2, 4, 8, 16, 32"
    ):
        ModelConfig.from_hf(hf_config(), parallelism=Parallelism(tensor=3))
    with pytest.raises(BringupError, match="padding is off"):
        ModelConfig.from_hf(hf_config(), parallelism=Parallelism(tensor=8, pad_heads=False))


def test_more_heads_than_a_tile_has_rows_need_tensor_parallelism() -> None:
    sizes = {"num_attention_heads": 64, "num_key_value_heads": 8}
    with pytest.raises(BringupError, match="num_heads = 64 can't be more than 32 on one device"):
        ModelConfig.from_hf(hf_config(**sizes))
    assert ModelConfig.from_hf(hf_config(**sizes), parallelism=Parallelism(tensor=2)).head_split.heads == 32


def test_the_reference_is_cut_as_the_chips_are() -> None:
    reference = torch.arange(2 * 64 * 128).reshape(1, 2, 64, 128)
    spread = Parallelism(data=2, tensor=4, residual="fractured").spread("whole", "residual")
    parts = spread.reference_parts(reference)
    assert len(parts) == 8
    assert torch.equal(parts[6], reference[:, :, 32:, 64:96])
    whole = Parallelism(data=2, tensor=4).spread("whole", "residual").reference_parts(reference)
    assert torch.equal(whole[6], reference[:, :, 32:])
    assert len(SINGLE.spread("whole", "whole").reference_parts(reference)) == 1
    prompts = (
        Parallelism(data=2, tensor=4).spread("whole", "whole", prefill=True).reference_parts(reference[0, :, None])
    )
    assert [int(part[0, 0, 0, 0]) for part in prompts] == [0] * 4 + [64 * 128] * 4


def test_where_an_instance_is() -> None:
    assert SINGLE.chips(0) == Parallelism(tensor=4).chips(0) == ""
    assert Parallelism(data=4).chips(3) == " on chip 3"
    assert Parallelism(data=2, tensor=4).chips(1) == " on chips 4 to 7"


@pytest.mark.parametrize(
    ("model", "system", "mesh", "kind"),
    [
        ("tiny-llama", "t3000", (1, 4), "dp"),
        ("llama-3.1-8b", "t3000", (2, 4), "dp"),
        ("llama-3.1-70b", "t3000", (1, 8), "tp"),
        ("llama-3.1-70b", "galaxy", (8, 4), "dpxtp"),
    ],
)
def test_by_default_the_plan_says(model: str, system: str, mesh: tuple[int, int], kind: Kind) -> None:
    name, config = config_of(model)
    assert planned_kind(config, name, system_of(system), mesh, context=256) == kind
