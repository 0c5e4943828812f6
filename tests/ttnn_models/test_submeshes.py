"""A generator on each submesh: which prompts go where, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ttnn_models.config import ModelConfig
from ttnn_models.parallelism import Parallelism
from ttnn_models.submeshes import Submeshes

from pytest_ttbringup.errors import BringupError

from .test_config import hf_config


@pytest.fixture
def given() -> list[list[list[int]]]:
    """The prompts of each generator that got some."""
    return []


@pytest.fixture
def submeshes(given: list[list[list[int]]]) -> Submeshes:
    """Two generators that give prompts back."""

    def generate(prompts: list[list[int]], **_: Any) -> list[list[int]]:
        given.append(prompts)
        return prompts

    return Submeshes([SimpleNamespace(generate=generate)] * 2)  # type: ignore[list-item]


@pytest.mark.parametrize(("prompts", "parts"), [(1, [1]), (32, [32]), (33, [32, 1]), (64, [32, 32])])
def test_the_first_32_go_to_the_first(
    submeshes: Submeshes, given: list[list[list[int]]], prompts: int, parts: list[int]
) -> None:
    texts = [[number] for number in range(prompts)]
    assert submeshes.generate(texts, max_new_tokens=1) == texts  # type: ignore[comparison-overlap]
    assert [len(part) for part in given] == parts


@pytest.mark.parametrize("prompts", [0, 65])
def test_a_number_of_prompts_that_can_not_be_had(submeshes: Submeshes, prompts: int) -> None:
    with pytest.raises(BringupError, match=rf"{prompts} texts given; a batch has 1 to 64 users"):
        submeshes.generate([[1]] * prompts, max_new_tokens=1)


def test_a_submesh_holds_one_instance() -> None:
    config = ModelConfig.from_hf(hf_config(), parallelism=Parallelism(data=2))
    with pytest.raises(BringupError, match=r"parallelism\.data = 2 must be 1"):
        Submeshes.from_weights(None, config, {})
