"""Converted weights on disk: found again, never stale, never damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import ttnn
from ttnn_models import weights
from ttnn_models.weights import UNCACHED, WeightCache, weight_key

from pytest_ttbringup.errors import BringupError

WEIGHT = torch.arange(64 * 96, dtype=torch.float32).reshape(1, 1, 64, 96) / 1000


def load(
    cache: WeightCache, mesh_device: ttnn.MeshDevice, tensor: torch.Tensor = WEIGHT, **changes: Any
) -> torch.Tensor:
    arguments = {
        "dtype": ttnn.bfloat8_b,
        "layout": ttnn.TILE_LAYOUT,
        "memory_config": ttnn.DRAM_MEMORY_CONFIG,
        "device": mesh_device,
    }
    on_device = cache.load("mlp.up_proj.weight", tensor, **{**arguments, **changes})
    values: torch.Tensor = ttnn.to_torch(ttnn.get_device_tensors(on_device)[0])
    return values


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each weight converted from PyTorch."""
    calls: list[int] = []
    from_torch = ttnn.from_torch

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        return from_torch(*arguments, **keywords)

    monkeypatch.setattr(ttnn, "from_torch", counted)
    return calls


def test_the_second_load_reads_the_file(mesh_device: Any, tmp_path: Path, conversions: list[int]) -> None:
    cache = WeightCache(tmp_path / "weights")
    first = load(cache, mesh_device)
    second = load(WeightCache(tmp_path / "weights"), mesh_device)
    assert len(conversions) == 1
    assert torch.equal(first, second)
    assert torch.equal(first, load(UNCACHED, mesh_device))
    [file] = files(tmp_path / "weights")
    assert file.name.startswith("mlp.up_proj.weight-")


def test_without_a_folder_nothing_is_kept(mesh_device: Any, conversions: list[int]) -> None:
    load(UNCACHED, mesh_device)
    load(UNCACHED, mesh_device)
    assert len(conversions) == 2


def test_another_content_is_another_weight(mesh_device: Any, tmp_path: Path) -> None:
    cache = WeightCache(tmp_path)
    first = load(cache, mesh_device)
    changed = WEIGHT.clone()
    changed[0, 0, 63, 95] = -7.0
    second = load(cache, mesh_device, changed)
    assert second[0, 0, 63, 95] == -7.0
    assert not torch.equal(first, second)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty"])
def test_a_damaged_file_is_made_anew(mesh_device: Any, tmp_path: Path, conversions: list[int], damage: str) -> None:
    cache = WeightCache(tmp_path)
    expected = load(cache, mesh_device)
    [file] = files(tmp_path)
    content = bytearray(file.read_bytes())
    intact = bytes(content)
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "one bit":
        content[-100] ^= 1
    else:
        content.clear()
    file.write_bytes(content)
    assert torch.equal(load(cache, mesh_device), expected)
    assert len(conversions) == 2
    assert [path.read_bytes() for path in files(tmp_path)] == [intact]


def test_a_renamed_file_is_not_believed(mesh_device: Any, tmp_path: Path) -> None:
    cache = WeightCache(tmp_path)
    load(cache, mesh_device)
    [first] = files(tmp_path)
    other = WEIGHT + 1
    expected = load(cache, mesh_device, other)
    [second] = [path for path in files(tmp_path) if path != first]
    first.replace(second)
    assert torch.equal(load(cache, mesh_device, other), expected)


def key(tensor: torch.Tensor = WEIGHT, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "dtype": ttnn.bfloat8_b,
        "layout": ttnn.TILE_LAYOUT,
        "memory_config": ttnn.DRAM_MEMORY_CONFIG,
        "mesh_shape": (1, 2),
        "mesh_mapper": ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementReplicate()]),
    }
    return weight_key(tensor, **{**arguments, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"tensor": WEIGHT.reshape(1, 1, 96, 64)},
        {"tensor": WEIGHT.transpose(2, 3)},
        {"tensor": WEIGHT.double()},
        {"tensor": WEIGHT.view(torch.int32)},
        {"dtype": ttnn.bfloat4_b},
        {"layout": ttnn.ROW_MAJOR_LAYOUT},
        {"mesh_shape": (2, 1)},
    ],
    ids=["shape", "transposed", "torch dtype", "same bytes", "dtype", "layout", "mesh"],
)
def test_the_key_changes_with_all_that_matters(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_the_key_changes_with_the_placement() -> None:
    assert key(memory_config=ttnn.L1_MEMORY_CONFIG) != key()
    sharded = ttnn.MeshMapperConfig([ttnn.PlacementReplicate(), ttnn.PlacementShard(3)])
    assert key(mesh_mapper=sharded) != key()


def test_the_key_changes_with_the_version_of_ttnn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(weights, "_ttnn_version", lambda: "0.0.1")
    assert key() != before


def test_the_key_does_not_change_with_the_object() -> None:
    assert key(WEIGHT.clone()) == key()
    assert key(torch.nn.Parameter(WEIGHT)) == key()


def test_a_transposed_view_is_kept_as_it_reads(mesh_device: Any, tmp_path: Path) -> None:
    cache = WeightCache(tmp_path)
    for _ in range(2):
        values = load(cache, mesh_device, WEIGHT.transpose(2, 3), dtype=ttnn.float32)
        assert torch.equal(values, WEIGHT.transpose(2, 3))


@pytest.mark.usefixtures("mesh_device")
def test_writers_at_the_same_time(tmp_path: Path) -> None:
    host = ttnn.from_torch(WEIGHT, dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: WeightCache._write(tmp_path, "w-0", host), range(8)):
            pass
    assert len(files(tmp_path)) == 1
    assert WeightCache._read(tmp_path, "w-0") is not None


def test_a_folder_that_can_not_be_written(mesh_device: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BringupError, match=r"weight cache folder .*file/weights can't be written \(Not a directory\)"):
        load(WeightCache(tmp_path / "file" / "weights"), mesh_device)
