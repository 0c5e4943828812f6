"""Tensors written to files from a device, and read back to one: values, memory, views of one buffer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import ttnn


@pytest.mark.parametrize("kind", ["DRAM", "L1", "sharded"])
def test_a_tensor_comes_back_to_its_memory(device: ttnn.MeshDevice, tmp_path: Path, kind: str) -> None:
    x = torch.randn(1, 1, 64, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    memory = (
        ttnn.create_sharded_memory_config((1, 1, 64, 32), ttnn.CoreGrid(x=2, y=1), ttnn.ShardStrategy.HEIGHT)
        if kind == "sharded"
        else getattr(ttnn, f"{kind}_MEMORY_CONFIG")
    )
    placed = ttnn.from_torch(x, layout=ttnn.TILE_LAYOUT, device=device, memory_config=memory)
    ttnn.dump_tensor(tmp_path / "x.tensorbin", placed)
    loaded = ttnn.load_tensor(tmp_path / "x.tensorbin", device=device)
    assert loaded.spec == placed.spec
    assert loaded.buffer_unique_id() != placed.buffer_unique_id()
    assert torch.equal(ttnn.to_torch(loaded), x)


@pytest.mark.parametrize("on_device", [False, True])
def test_views_of_one_buffer(device: ttnn.MeshDevice, tmp_path: Path, on_device: bool) -> None:
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    fused = ttnn.from_torch(x, layout=ttnn.TILE_LAYOUT, device=device)
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 0))})
    views = {
        name: ttnn.OverlappedTensor(fused, (32, 64), (32, 64), cores, ttnn.bfloat16, (32, 32), offset, 4096)
        for name, offset in (("first", 0), ("second", 4096))
    }
    name = str(tmp_path / "views.overlappedtensorbin")
    ttnn._ttnn.tensor.dump_overlapped_tensors(name, views)
    loaded = ttnn._ttnn.tensor.load_overlapped_tensors(name, **({"device": device} if on_device else {}))
    assert {key: view.byte_offset for key, view in loaded.items()} == {"first": 0, "second": 4096}
    for view in loaded.values():
        assert view.fused_tensor.storage_type() == (ttnn.StorageType.DEVICE if on_device else ttnn.StorageType.HOST)
        assert torch.equal(ttnn.to_torch(view.fused_tensor), x)


def test_views_of_two_buffers_are_refused(device: ttnn.MeshDevice, tmp_path: Path) -> None:
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 0))})
    views = {
        str(number): ttnn.OverlappedTensor(
            ttnn.from_torch(torch.ones(32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device),
            (32, 32),
            (32, 32),
            cores,
            ttnn.bfloat16,
            (32, 32),
        )
        for number in range(2)
    }
    with pytest.raises(RuntimeError, match="same fused"):
        ttnn._ttnn.tensor.dump_overlapped_tensors(str(tmp_path / "views.overlappedtensorbin"), views)
