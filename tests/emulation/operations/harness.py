"""What the tables of operations share: where tensors lie, what they should hold, wrong values that must not pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import ttnn
from hypothesis import strategies as st

Expected = Callable[..., Any]

BF16_RTOL = 2.0**-7
"""One unit in the last place of bfloat16, relative to the least number with that unit."""


@dataclass(frozen=True)
class Case:
    """One operation and what PyTorch says it computes.

    Attributes:
        name: of the operation, without `ttnn.`.
        expected: takes the inputs as float64 (or int64), gives the result.
        low: least input value.
        high: greatest input value.
        keywords: passed to the operation; `expected` knows them itself.
        places: where the inputs may lie; only `tile` for operations for which TT-NN refuses the others.
        dtypes: number formats of the inputs.
    """

    name: str
    expected: Expected
    low: float = -3.0
    high: float = 3.0
    keywords: dict[str, Any] = field(default_factory=dict)
    places: Sequence[str] = ("tile", "row major", "sharded")
    dtypes: Sequence[ttnn.DataType] = (ttnn.bfloat16, ttnn.float32)
    rtol: float = BF16_RTOL

    def __str__(self) -> str:
        return self.name

    @property
    def operation(self) -> Callable[..., Any]:
        """The operation itself."""
        found: Any = ttnn
        for part in self.name.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Setting:
    """One example: a shape, a place and a number format."""

    shape: tuple[int, ...]
    place: str
    dtype: ttnn.DataType
    seed: int


@st.composite
def settings_for(draw: st.DrawFn, case: Case, *, least: int = 1) -> Setting:
    """Shapes of rank 2 to 4; whole tiles where the tensor is sharded."""
    place = draw(st.sampled_from(list(case.places)))
    dtype = draw(st.sampled_from(list(case.dtypes)))
    seed = draw(st.integers(0, 2**31))
    if place == "sharded":
        return Setting((1, 1, 32 * draw(st.integers(1, 3)), 32 * draw(st.integers(1, 2))), place, dtype, seed)
    outer = draw(st.sampled_from([(), (1,), (2,), (1, 2)]))
    side = st.sampled_from([size for size in (1, 2, 17, 32, 33, 64) if size >= least])
    return Setting((*outer, draw(side), draw(side)), place, dtype, seed)


def values(setting: Setting, low: float, high: float, *, number: int = 0) -> torch.Tensor:
    """Values in [low, high) that the setting's dtype holds exactly, in its shape."""
    made = torch.rand(setting.shape, generator=torch.Generator().manual_seed(setting.seed + number))
    return held(made * (high - low) + low, setting.dtype)


def held(numbers: torch.Tensor, dtype: ttnn.DataType) -> torch.Tensor:
    """Numbers as `dtype` holds them: float32, or int32 for an integer format."""
    if dtype in INTEGERS:
        return numbers.to(torch.int32)
    return numbers.bfloat16().float() if dtype == ttnn.bfloat16 else numbers.float()


INTEGERS = (ttnn.int32, ttnn.uint32, ttnn.uint16, ttnn.uint8)


def wide(numbers: torch.Tensor) -> torch.Tensor:
    """For the expectation: float64, integers as int64."""
    return numbers.double() if numbers.is_floating_point() else numbers.long()


def placed(numbers: torch.Tensor, setting: Setting, device: ttnn.MeshDevice) -> ttnn.Tensor:
    """Put numbers on the device as the setting says."""
    how: dict[str, Any] = {"dtype": setting.dtype, "layout": ttnn.TILE_LAYOUT, "device": device}
    if setting.place == "row major":
        how["layout"] = ttnn.ROW_MAJOR_LAYOUT
    if setting.place == "sharded":
        rows = numbers.numel() // numbers.shape[-1] // 32
        how["memory_config"] = ttnn.create_sharded_memory_config(
            (32, numbers.shape[-1]),
            ttnn.num_cores_to_corerangeset(rows, device.compute_with_storage_grid_size(), row_wise=True),
            ttnn.ShardStrategy.HEIGHT,
            use_height_and_width_as_shard_shape=True,
        )
    return ttnn.from_torch(numbers, **how)


def on_tiles(numbers: torch.Tensor, device: ttnn.MeshDevice, dtype: ttnn.DataType = ttnn.bfloat16) -> ttnn.Tensor:
    """Put numbers on the device in tile layout, in DRAM."""
    return ttnn.from_torch(numbers, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device)


def check(out: ttnn.Tensor, expected: torch.Tensor, *, rtol: float = BF16_RTOL, atol: float = 1e-6) -> None:
    """Compare shape and values; a difference of one unit in the last place of bfloat16 is allowed by default."""
    actual = ttnn.to_torch(out)
    assert actual.shape == expected.shape, f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if not expected.is_floating_point():
        rtol = atol = 0.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol, equal_nan=True)


def check_with_control(
    out: ttnn.Tensor, expected: torch.Tensor, *, rtol: float = BF16_RTOL, atol: float = 1e-6
) -> None:
    """`check`, and that a result off by 5 % and 0.05 beyond the tolerance (integers: by one) does not pass."""
    check(out, expected, rtol=rtol, atol=atol)
    finite = expected.double().isfinite()
    if not bool(finite.any()):
        return
    wrong = (
        expected.double() + 0.05 * (1 + expected.double().abs()) + 2 * atol
        if expected.is_floating_point()
        else expected.long() + 1
    )
    with pytest.raises(AssertionError):
        check(out, wrong, rtol=rtol, atol=atol)
    if expected.shape[-1:] != (1,) and expected.dim():
        with pytest.raises(AssertionError, match="shape"):
            check(out, expected.unsqueeze(0), rtol=rtol, atol=atol)


def names(cases: Sequence[Case]) -> list[str]:
    """Test ids; an operation that occurs twice gets its keywords too."""
    return [str(case) + "".join(f" {key}={value}" for key, value in case.keywords.items()) for case in cases]
