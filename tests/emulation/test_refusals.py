"""What the emulated device can't do, it says: by name, before anything is lost."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError, prepare
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.systems import system_of


@pytest.fixture
def tensor(mesh_device: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.from_torch(torch.ones(1, 1, 32, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)


def test_an_operation_without_semantics_is_named(tensor: ttnn.Tensor) -> None:
    with pytest.raises(
        EmulationError, match=r'ttnn\.experimental\.nlp_create_qkv_heads_segformer has no values.*@semantics\("'
    ):
        ttnn.experimental.nlp_create_qkv_heads_segformer(ttnn.reshape(tensor, (1, 1, 32, 64)))


def test_ttnns_own_refusals_pass_through(tensor: ttnn.Tensor) -> None:
    with pytest.raises(RuntimeError, match="width=64 height=32"):
        ttnn.linear(tensor, tensor)


def test_a_position_beyond_the_cache(mesh_device: ttnn.MeshDevice) -> None:
    cache = ttnn.from_torch(torch.zeros(1, 1, 32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    cores = ttnn.num_cores_to_corerangeset(1, mesh_device.compute_with_storage_grid_size(), row_wise=True)
    sharded = ttnn.create_sharded_memory_config(
        (32, 32), cores, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
    )
    rows = ttnn.from_torch(
        torch.zeros(1, 1, 1, 32),
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=mesh_device,
        memory_config=sharded,
    )
    position = ttnn.from_torch(torch.tensor([32], dtype=torch.int32), device=mesh_device)
    with pytest.raises(EmulationError, match=r"a position is 32 \(at \[0\]\), outside 0 … 31"):
        ttnn.experimental.paged_update_cache(cache, rows, update_idxs_tensor=position)


def test_setting_up_after_ttnn_was_imported(tmp_path) -> None:
    with pytest.raises(BringupError, match="ttnn was imported before"):
        prepare(system=system_of("n150"), cache_dir=tmp_path)
