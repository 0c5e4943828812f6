"""Peak memory is the allocator's, and host memory follows the device's."""

from __future__ import annotations

import gc
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation.install import _MEMORY, end_test

from ..sweeping import sweep

TILE_BYTES = 2048  # 32 x 32 bfloat16


def tensor(device: ttnn.MeshDevice, tiles: int = 1, config: Any = None) -> ttnn.Tensor:
    host = ttnn.from_torch(torch.ones(tiles, 1, 32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    return ttnn.to_device(host, device, memory_config=config or ttnn.DRAM_MEMORY_CONFIG)


def measured(device: ttnn.MeshDevice) -> dict[str, int]:
    return {peak.kind: peak.peak for peak in _MEMORY.meter.stop(device)}


def used(device: ttnn.MeshDevice, kind: Any) -> int:
    return int(ttnn.get_memory_view(device, kind).total_bytes_allocated_per_bank)


def test_the_peak_is_what_was_allocated_at_once(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    base, base_l1 = used(mesh_device, ttnn.BufferType.DRAM), used(mesh_device, ttnn.BufferType.L1)
    _MEMORY.meter.start(mesh_device)
    for _ in range(5):
        held = [tensor(mesh_device, 120) for _ in range(3)]  # ten tiles on each of 12 DRAM banks
        for it in held:
            ttnn.deallocate(it)
    moved = tensor(mesh_device, 64, ttnn.L1_MEMORY_CONFIG)  # a tile on each core
    ttnn.deallocate(moved)
    peaks = measured(mesh_device)
    assert peaks["DRAM"] == base + 3 * 10 * TILE_BYTES
    assert peaks["L1"] == base_l1 + TILE_BYTES


def test_tensors_that_die_without_a_word_do_not_count_on(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.DRAM)
    _MEMORY.meter.start(mesh_device)
    for tiles in (12, 24, 36, 48, 60, 12, 24):
        tensor(mesh_device, tiles)
    assert measured(mesh_device)["DRAM"] == base + 5 * TILE_BYTES


def test_outputs_of_operations_count(mesh_device: ttnn.MeshDevice) -> None:
    x = tensor(mesh_device, 12)
    base = used(mesh_device, ttnn.BufferType.DRAM)
    _MEMORY.meter.start(mesh_device)
    kept = [ttnn.neg(x) for _ in range(4)]
    assert measured(mesh_device)["DRAM"] == base + 4 * TILE_BYTES
    del kept


CIRCULAR = r"Statically allocated \w+ buffers .* region ends at (\d+)"


def test_circular_buffers_count_in_l1(mesh_device: ttnn.MeshDevice) -> None:
    x = ttnn.from_torch(torch.ones(2048, 2048), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.L1)
    size = ttnn.get_memory_view(mesh_device, ttnn.BufferType.L1)
    held = tensor(mesh_device, 64 * (size.total_bytes_free_per_bank // TILE_BYTES - 8), ttnn.L1_MEMORY_CONFIG)
    with pytest.raises(RuntimeError, match=CIRCULAR) as refused:
        ttnn.softmax(x, dim=-1)
    ends = int(re.search(CIRCULAR, str(refused.value))[1])
    starts = held.buffer_address() + (held.buffer_num_pages() // 64) * TILE_BYTES - size.total_bytes_per_bank + base
    ttnn.deallocate(held)
    held = tensor(mesh_device, 64 * 3, ttnn.L1_MEMORY_CONFIG)
    for _ in range(2):  # compiled, then from the program cache
        _MEMORY.meter.start(mesh_device)
        ttnn.deallocate(ttnn.softmax(x, dim=-1))
        (l1,) = [it for it in _MEMORY.meter.stop(mesh_device) if it.kind == "L1"]
        assert l1.peak == base + 3 * TILE_BYTES + ends - starts
        assert l1.buffers == base + 3 * TILE_BYTES
    ttnn.deallocate(held)


@pytest.mark.parametrize("how", ["move", "reallocate"])
def test_a_move_counts_though_its_input_is_gone(mesh_device: ttnn.MeshDevice, how: str) -> None:
    """It keeps in circular buffers what a core has of the tensor, where it moves it onto itself."""

    def lying_behind_a_hole(tiles: int) -> ttnn.Tensor:
        hole, it = tensor(mesh_device, 64), tensor(mesh_device, 64 * tiles)
        ttnn.deallocate(hole)
        return it

    gc.collect()
    base = used(mesh_device, ttnn.BufferType.L1)
    room = ttnn.get_memory_view(mesh_device, ttnn.BufferType.L1).total_bytes_free_per_bank // TILE_BYTES
    held = tensor(mesh_device, 64 * (room - 2), ttnn.L1_MEMORY_CONFIG)
    with pytest.raises(RuntimeError, match=CIRCULAR) as refused:
        ttnn.move(lying_behind_a_hole(5))
    ends, starts = int(re.search(CIRCULAR, str(refused.value))[1]), held.buffer_address() - 2 * TILE_BYTES
    ttnn.deallocate(held)
    for _ in range(2):  # compiled, then from the program cache
        _MEMORY.meter.start(mesh_device)
        ttnn.deallocate(getattr(ttnn, how)(lying_behind_a_hole(5)))
        peak = measured(mesh_device)["L1"] - base
        assert peak == 5 * TILE_BYTES
        assert abs(ends - starts - peak) < TILE_BYTES  # the room is no multiple of a tile


def test_a_move_out_of_l1_counts_its_input_until_it_is_freed(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.L1)
    x = tensor(mesh_device, 64 * 5, ttnn.L1_MEMORY_CONFIG)
    _MEMORY.meter.start(mesh_device)
    ttnn.deallocate(ttnn.move(x, memory_config=ttnn.DRAM_MEMORY_CONFIG))
    assert measured(mesh_device)["L1"] == base + 5 * TILE_BYTES  # the program takes less, of those that it copies with


def convolve(x: ttnn.Tensor, *, consume: bool) -> ttnn.Tensor:
    """[1, 1, 256, 32], an image of 16x16, through a 3x3 kernel."""
    return ttnn.conv2d(
        input_tensor=x,
        weight_tensor=ttnn.from_torch(torch.ones(32, 32, 3, 3), dtype=ttnn.bfloat16),
        device=x.device(),
        in_channels=32,
        out_channels=32,
        batch_size=1,
        input_height=16,
        input_width=16,
        kernel_size=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        conv_config=ttnn.Conv2dConfig(deallocate_activation=consume),
        dtype=ttnn.bfloat16,
    )


@pytest.mark.parametrize("device_params", [{"l1_small_size": 32 << 10}], indirect=True)
def test_an_operation_that_frees_its_input_counts_without_it_from_then_on(mesh_device: ttnn.MeshDevice) -> None:
    size = 256 * 32 * 2 // 64  # of its input, on each core
    peaks = []
    for consume in (False, True):
        host = ttnn.from_torch(torch.ones(1, 1, 256, 32), dtype=ttnn.bfloat16)
        x = ttnn.to_device(host, mesh_device, memory_config=ttnn.L1_MEMORY_CONFIG)
        _MEMORY.meter.start(mesh_device)
        ttnn.deallocate(convolve(x, consume=consume))
        assert x.is_allocated() != consume
        peaks.append(_MEMORY.meter.stop(mesh_device)[1])
        if not consume:
            ttnn.deallocate(x)
    kept, consumed = peaks
    assert kept.peak - kept.buffers > 3 * TILE_BYTES
    assert kept.peak - consumed.peak == kept.buffers - consumed.buffers == size


def test_buffers_that_an_operation_frees_itself_count_in_dram(mesh_device: ttnn.MeshDevice) -> None:
    """`ttnn.cumsum` along any dimension but the first permutes its input before and the sums behind."""
    x = ttnn.reshape(tensor(mesh_device, 12), (1, 12, 32, 32))
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.DRAM)
    _MEMORY.meter.start(mesh_device)
    sums = ttnn.cumsum(x, dim=1)
    (dram, _) = _MEMORY.meter.stop(mesh_device)
    assert dram.buffers == base + TILE_BYTES
    assert dram.peak == base + 2 * TILE_BYTES
    del sums


def test_a_buffer_that_nobody_wrote_takes_no_host_memory(mesh_device: ttnn.MeshDevice) -> None:
    before = _MEMORY.bytes_held()
    fresh = ttnn.empty((1 << 14, 1 << 14), ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh_device, ttnn.DRAM_MEMORY_CONFIG)
    assert _MEMORY.bytes_held() - before < 64
    ttnn.deallocate(fresh)


def test_out_of_memory_is_ttnns_own(mesh_device: ttnn.MeshDevice) -> None:
    with pytest.raises(RuntimeError, match=r"Out of Memory: Not enough space to allocate 134217728 B L1 buffer"):
        tensor(mesh_device, 1 << 16, ttnn.L1_MEMORY_CONFIG)
    ttnn.to_torch(tensor(mesh_device, 1))


def test_a_clash_in_l1_is_ttnns_own(mesh_device: ttnn.MeshDevice) -> None:
    x = ttnn.from_torch(torch.ones(2048, 2048), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    view = ttnn.get_memory_view(mesh_device, ttnn.BufferType.L1)
    filling = tensor(mesh_device, 64 * (view.total_bytes_free_per_bank // TILE_BYTES - 8), ttnn.L1_MEMORY_CONFIG)
    with pytest.raises(RuntimeError, match=r"Statically allocated \w+ buffers in program \d+ clash with L1 buffers"):
        ttnn.softmax(x, dim=-1)
    ttnn.deallocate(filling)
    assert float(ttnn.to_torch(ttnn.softmax(x, dim=-1)).max()) == 2**-11


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.float32, ttnn.uint16])
def test_host_memory_is_the_fp32_size_of_the_live_tensors(mesh_device: ttnn.MeshDevice, dtype: Any) -> None:
    sweep(mesh_device)
    before = _MEMORY.bytes_held()
    shapes = [(1, 1, 32, 64), (3, 33, 65), (1, 1, 1, 4096), (2, 128, 128)]
    live = [
        ttnn.from_torch(torch.ones(shape), dtype=dtype, layout=ttnn.TILE_LAYOUT, device=mesh_device) for shape in shapes
    ]
    size = sum(4 * torch.Size(shape).numel() for shape in shapes)
    assert size / 4 < _MEMORY.bytes_held() - before <= 1.1 * size
    doubled = [ttnn.add(it, it) for it in live if dtype != ttnn.uint16]
    assert _MEMORY.bytes_held() - before <= 1.1 * size * (1 + bool(doubled))
    for it in live + doubled:
        ttnn.deallocate(it)
    assert _MEMORY.bytes_held() == before


def test_host_memory_stays_near_the_live_tensors(mesh_device: ttnn.MeshDevice) -> None:
    gc.collect()
    live = tensor(mesh_device, 64)
    before = _MEMORY.bytes_held()
    for _ in range(600):
        live = ttnn.neg(live)  # the old one dies without a word, and its address is used again
    garbage = _MEMORY.bytes_held() - before
    assert garbage < _MEMORY._SWEEP_BYTES + 2 * 64 * 4096


def test_tensors_that_died_are_forgotten_after_32_mib_and_at_the_end_of_a_test(mesh_device: ttnn.MeshDevice) -> None:
    sweep(mesh_device)
    before, size = _MEMORY.bytes_held(), 16 << 20
    held = [tensor(mesh_device, size // 4096) for _ in range(24)]
    assert _MEMORY.bytes_held() - before == len(held) * size
    held.clear()
    for _ in range(3):
        tensor(mesh_device, size // 4096)
    assert _MEMORY.bytes_held() - before <= 3 * size
    held = [tensor(mesh_device, size // 4096)]
    held.clear()
    end_test(mesh_device)
    assert _MEMORY.bytes_held() <= before


@pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)
def test_a_replay_counts_what_its_programs_and_buffers_take(mesh_device: ttnn.MeshDevice) -> None:
    x = tensor(mesh_device, 64, ttnn.L1_MEMORY_CONFIG)

    def step() -> None:
        y = ttnn.neg(x)
        z = ttnn.exp(y)
        ttnn.deallocate(y)
        ttnn.deallocate(ttnn.neg(z))

    step()
    gc.collect()
    base = used(mesh_device, ttnn.BufferType.L1)
    _MEMORY.meter.start(mesh_device)
    step()
    eager = measured(mesh_device)["L1"]
    _MEMORY.meter.start(mesh_device)
    trace = ttnn.begin_trace_capture(mesh_device)
    step()
    ttnn.end_trace_capture(mesh_device, trace)
    assert measured(mesh_device)["L1"] == base + 2 * TILE_BYTES  # a capture runs no program
    for tiles in (0, 1, 3, 0):
        _MEMORY.meter.start(mesh_device)
        ttnn.execute_trace(mesh_device, trace)
        held = tensor(mesh_device, 64 * tiles, ttnn.L1_MEMORY_CONFIG) if tiles else None
        ttnn.execute_trace(mesh_device, trace)
        (peak,) = [it for it in _MEMORY.meter.stop(mesh_device) if it.kind == "L1"]
        assert peak.buffers == base + tiles * TILE_BYTES
        # What was allocated since lies where the trace has its two outputs, each one tile of each core.
        assert peak.peak == eager + max(0, tiles - 2) * TILE_BYTES > base + 2 * TILE_BYTES
        del held
    ttnn.release_trace(mesh_device, trace)


def test_a_freed_tensor_gives_its_host_memory_back_at_once(mesh_device: ttnn.MeshDevice) -> None:
    held = tensor(mesh_device, 64)
    before = _MEMORY.bytes_held()
    ttnn.deallocate(held)
    assert _MEMORY.bytes_held() == before - 64 * 4096


def test_a_kv_cache_takes_host_memory_as_its_users_fill_it(mesh_device: ttnn.MeshDevice) -> None:
    users, heads, positions, size = 32, 2, 4096, 64  # 64 MiB in float32
    whole = 4 * users * heads * positions * size
    how = {"dtype": ttnn.bfloat8_b, "layout": ttnn.TILE_LAYOUT, "device": mesh_device}
    rows = ttnn.from_torch(torch.ones(1, heads, 1024, size), **how)
    before = _MEMORY.bytes_held()
    cache = ttnn.zeros((users, heads, positions, size), **how)
    assert _MEMORY.bytes_held() - before < 1024
    resident = _resident()  # behind zeros: TT-NN packs all of them on the host, and malloc may keep what it then frees
    ttnn.fill_cache(cache, rows, 3)
    assert _resident() - resident < whole / 4
    written = ttnn.to_torch(cache)
    assert bool((written[3, :, :1024] == 1).all())
    assert float(written.sum()) == heads * 1024 * size


def test_a_kv_cache_seen_as_rows_of_tiles_takes_no_more(mesh_device: ttnn.MeshDevice) -> None:
    """As a prefill fills a contiguous one, through a page table; a copy in the other shape would hold all of it."""
    cache = ttnn.zeros((8, 1, 8192, 64), dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT, device=mesh_device)
    rows = ttnn.reshape(cache, (8 * 8192 // 32, 1, 32, 64))
    prompt = ttnn.from_torch(
        torch.ones(1, 1, 64, 64), dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT, device=mesh_device
    )
    table = ttnn.from_torch(torch.tensor([[256, 257]]), dtype=ttnn.int32, device=mesh_device)
    resident = _resident()
    ttnn.experimental.paged_fill_cache(rows, prompt, table, batch_idx=0)
    ttnn.fill_cache(cache, prompt, 2)
    assert _resident() - resident < cache.logical_volume()  # a fourth of all values
    found = [user for user, values in enumerate(ttnn.to_torch(cache)) if values.any()]
    assert found == [1, 2]
    assert ttnn.to_torch(cache)[1, 0, :64].eq(1).all()


def _resident() -> int:
    """This process's memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("device_params", [{"trace_region_size": 8 << 20}], indirect=True)
@pytest.mark.parametrize("how", ["eager", "replayed"])
def test_host_memory_does_not_grow_over_decode_steps(mesh_device: ttnn.MeshDevice, tmp_path: Path, how: str) -> None:
    from ttnn_models.config import ModelConfig
    from ttnn_models.decode_state import DecodeState
    from ttnn_models.model import CausalLM

    from pytest_ttbringup.reference.loading import load_model

    model = load_model("tiny-llama", cache_dir=tmp_path)
    config = ModelConfig.from_hf(model.config, max_seq_len=256)
    causal_lm = CausalLM.from_weights(mesh_device, config, model.reference.state_dict())
    state, caches = DecodeState(mesh_device), causal_lm.new_kv_caches()
    for cache in caches:  # full, since what is empty takes memory only as steps fill it
        cache.load_torch(*(torch.ones_like(part) for part in cache.to_torch()))
    state.write_positions([0] * 32)
    causal_lm.decode_greedy(state, caches)
    trace = ttnn.begin_trace_capture(mesh_device)
    causal_lm.decode_greedy(state, caches)
    ttnn.end_trace_capture(mesh_device, trace)

    def step() -> None:
        if how == "eager":
            causal_lm.decode_greedy(state, caches)
        else:
            ttnn.execute_trace(mesh_device, trace, blocking=False)

    for _ in range(20):
        step()
    held, resident = _MEMORY.bytes_held(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        step()
    assert _MEMORY.bytes_held() <= held * 1.1 + 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 8 * 1024  # KiB
