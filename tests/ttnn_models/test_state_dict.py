"""Parts of a state dict, and what is missing from it or left over."""

from __future__ import annotations

import pytest
import torch
from ttnn_models.state_dict import check_names, take, within

from pytest_ttbringup.errors import BringupError

WEIGHTS = {"a.1.x": torch.zeros(2, 3), "a.1.y": torch.zeros(1), "a.11.x": torch.zeros(4)}


def test_within_takes_whole_names_only() -> None:
    assert set(within(WEIGHTS, "a.1")) == {"x", "y"}


def test_take_checks_the_shape() -> None:
    assert take(WEIGHTS, "a.1.x", (2, 3)) is WEIGHTS["a.1.x"]
    with pytest.raises(BringupError, match=r"a\.1\.x has shape \[2, 3\]; the configuration asks for \[3, 2\]"):
        take(WEIGHTS, "a.1.x", (3, 2))


def test_take_says_what_is_missing() -> None:
    with pytest.raises(BringupError, match=r"Weight b is missing. Given: a\.1\.x, a\.1\.y, a\.11\.x"):
        take(WEIGHTS, "b", (1,))


def test_names_must_be_just_those_used() -> None:
    check_names(WEIGHTS, set(WEIGHTS), owner="thing")
    with pytest.raises(BringupError, match=r"weights of the thing lack b"):
        check_names(WEIGHTS, {*WEIGHTS, "b"}, owner="thing")
    with pytest.raises(BringupError, match=r"The thing has no use for a\.1\.y"):
        check_names(WEIGHTS, {"a.1.x", "a.11.x"}, owner="thing")


def test_long_lists_are_cut() -> None:
    with pytest.raises(BringupError, match=r"lack b0, b1, b2, b3, b4 and 4 more"):
        check_names({}, {f"b{index}" for index in range(9)}, owner="thing")
