"""Device buffers behave like memory: views, in-place operations, reuse, deallocation."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError
from pytest_ttbringup.emulation.install import _MEMORY

from .sweeping import sweep


def on_device(values: torch.Tensor, device: ttnn.MeshDevice, **how: object) -> ttnn.Tensor:
    return ttnn.from_torch(values, **{"dtype": ttnn.bfloat16, "layout": ttnn.TILE_LAYOUT, "device": device} | how)


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) % 251


READS = {
    "to_torch": lambda tensor: ttnn.to_torch(tensor),
    "from_device": lambda tensor: ttnn.from_device(tensor).to_torch(),
    "cpu": lambda tensor: tensor.cpu().to_torch(),
    "method to_torch": lambda tensor: tensor.to_torch(),
    "to_list": lambda tensor: torch.tensor(tensor.to_list()),
    "get_device_tensors": lambda tensor: ttnn.to_torch(ttnn.get_device_tensors(tensor)[0]),
}


@pytest.mark.parametrize("read", READS)
def test_every_way_of_reading_gives_the_values(mesh_device: ttnn.MeshDevice, read: str) -> None:
    values = numbers(1, 1, 64, 96)
    assert torch.equal(READS[read](on_device(values, mesh_device)).float(), values)


def test_printing_shows_the_values(mesh_device: ttnn.MeshDevice) -> None:
    assert "7.0000" in repr(on_device(torch.full((32, 32), 7.0), mesh_device))


def test_item(mesh_device: ttnn.MeshDevice) -> None:
    assert on_device(torch.tensor([[5.0]]), mesh_device).item() == 5.0


@pytest.mark.parametrize("layout", [ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT])
@pytest.mark.parametrize("shape", [(64, 96), (1, 2, 32, 96), (2, 32, 96), (1, 1, 64, 96)])
def test_a_view_shares_the_buffer(mesh_device: ttnn.MeshDevice, layout: ttnn.Layout, shape: tuple[int, ...]) -> None:
    values = numbers(1, 1, 64, 96)
    tensor = on_device(values, mesh_device, layout=layout)
    view = ttnn.reshape(tensor, shape)
    assert view.buffer_address() == tensor.buffer_address()
    assert torch.equal(ttnn.to_torch(view).float(), values.reshape(shape))
    ttnn.copy_host_to_device_tensor(ttnn.from_torch(values + 1, dtype=ttnn.bfloat16, layout=layout), tensor)
    assert torch.equal(ttnn.to_torch(view).float(), (values + 1).reshape(shape))


def test_a_view_of_padding_shows_what_lies_there(mesh_device: ttnn.MeshDevice) -> None:
    values = numbers(1, 1, 4, 32)
    padded = ttnn.reshape(on_device(values, mesh_device), (1, 1, 32, 32), (1, 1, 32, 32))
    shown = ttnn.to_torch(padded).float()
    assert torch.equal(shown[:, :, :4], values)
    assert not shown[:, :, 4:].any()  # ttnn.from_torch pads with zeros
    computed = ttnn.reshape(ttnn.exp(on_device(values, mesh_device)), (1, 1, 32, 32), (1, 1, 32, 32))
    assert ttnn.to_torch(computed)[:, :, 4:].isnan().all()  # a kernel leaves there what it likes


def test_in_place_operations_reach_every_view(mesh_device: ttnn.MeshDevice) -> None:
    tensor = on_device(numbers(1, 1, 32, 64), mesh_device)
    view = ttnn.reshape(tensor, (32, 64))
    ttnn.add_(tensor, 2.0)
    ttnn.multiply(tensor, 3.0, output_tensor=tensor)
    assert torch.equal(ttnn.to_torch(view).float(), ((numbers(32, 64) + 2) * 3).bfloat16().float())


def test_a_copy_does_not_share(mesh_device: ttnn.MeshDevice) -> None:
    tensor = ttnn.from_torch(torch.zeros(1, 32, dtype=torch.int32), device=mesh_device)
    moved = ttnn.to_memory_config(tensor, ttnn.L1_MEMORY_CONFIG)
    ttnn.plus_one(tensor)
    assert ttnn.to_torch(tensor).unique().tolist() == [1]
    assert ttnn.to_torch(moved).unique().tolist() == [0]


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b, ttnn.uint32])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_host_tensor_is_written_where_it_is(mesh_device: ttnn.MeshDevice, dtype: object, blocking: bool) -> None:
    values = numbers(2, 33, 64) % 7
    tensor = on_device(values, mesh_device, dtype=dtype)
    host = ttnn.from_torch(torch.zeros(2, 33, 64), dtype=dtype, layout=ttnn.TILE_LAYOUT)
    other = ttnn.from_torch(torch.zeros(2, 33, 64), dtype=dtype, layout=ttnn.TILE_LAYOUT)
    ttnn.copy_device_to_host_tensor(tensor, host, blocking=blocking)
    ttnn.synchronize_device(mesh_device)
    assert torch.equal(ttnn.to_torch(host).double(), values.double())
    assert not ttnn.to_torch(other).double().any()
    allocated = ttnn.allocate_tensor_on_host(tensor.spec, mesh_device)
    ttnn.copy_device_to_host_tensor(tensor, allocated)
    assert torch.equal(ttnn.to_torch(allocated).double(), values.double())
    narrow = ttnn.from_torch(torch.zeros(2, 33, 32), dtype=dtype, layout=ttnn.TILE_LAYOUT)
    with pytest.raises(EmulationError, match=r"the host tensor \(\[2, 33, 32\] .* is not of the device tensor's kind"):
        ttnn.copy_device_to_host_tensor(tensor, narrow)
    with pytest.raises(EmulationError, match="in this order"):
        ttnn.copy_device_to_host_tensor(host, tensor)


def test_reading_a_deallocated_tensor_is_an_error(mesh_device: ttnn.MeshDevice) -> None:
    tensor = on_device(numbers(32, 32), mesh_device)
    ttnn.deallocate(tensor)
    with pytest.raises(EmulationError, match=r"deallocated tensor \(shape \[32, 32\]"):
        ttnn.to_torch(tensor)
    with pytest.raises(EmulationError, match="deallocated"):
        ttnn.add(tensor, 1.0)


def test_an_address_used_again_holds_the_new_values(mesh_device: ttnn.MeshDevice) -> None:
    first = on_device(numbers(32, 32), mesh_device)
    address = first.buffer_address()
    ttnn.deallocate(first)
    second = on_device(numbers(32, 32) + 1, mesh_device)
    assert second.buffer_address() == address
    assert torch.equal(ttnn.to_torch(second).float(), numbers(32, 32) + 1)


def test_what_was_never_written_is_not_a_number(mesh_device: ttnn.MeshDevice) -> None:
    fresh = ttnn.empty((32, 32), ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh_device, ttnn.DRAM_MEMORY_CONFIG)
    assert ttnn.to_torch(fresh).isnan().all()


def test_values_of_dead_tensors_are_dropped(mesh_device: ttnn.MeshDevice) -> None:
    sweep(mesh_device)
    alive = on_device(numbers(32, 32), mesh_device)
    kept = [on_device(numbers(32, 32), mesh_device) for _ in range(600)]
    dead = {tensor.buffer_unique_id() for tensor in kept}
    del kept
    gc.collect()
    assert dead <= _MEMORY._contents.keys()  # nobody said a word
    # In other memory, so that no address is used again, which would tell, too.
    more = [on_device(numbers(32, 32), mesh_device, memory_config=ttnn.L1_MEMORY_CONFIG) for _ in range(600)]
    assert dead.isdisjoint(_MEMORY._contents)
    assert {tensor.buffer_unique_id() for tensor in more} <= _MEMORY._contents.keys()
    assert torch.equal(ttnn.to_torch(alive).float(), numbers(32, 32))


def test_files_written_and_read(mesh_device: ttnn.MeshDevice, tmp_path: Path) -> None:
    values = numbers(64, 64)
    ttnn.dump_tensor(
        tmp_path / "values.tensorbin", ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    )
    loaded = ttnn.load_tensor(tmp_path / "values.tensorbin", device=mesh_device)
    assert torch.equal(ttnn.to_torch(loaded).float(), values)
