"""What the hardware refuses in captures and replays, or would get silently wrong, is an error that names the call."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError

REGION = pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)


def on_host(number: float, *, rows: int = 32) -> ttnn.Tensor:
    return ttnn.from_torch(torch.full((rows, 32), number), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)


@pytest.fixture
def x(mesh_device: ttnn.MeshDevice) -> ttnn.Tensor:
    tensor = ttnn.to_device(on_host(1.0), mesh_device)
    ttnn.exp(ttnn.neg(tensor))  # compiled
    ttnn.add(tensor, tensor)
    return tensor


IN_CAPTURE = {
    "to_torch": (lambda x: ttnn.to_torch(x), "ttnn.from_device in the capture of trace .*Reads are not supported"),
    "cpu": (lambda x: x.cpu(), "Reads are not supported"),
    "from_device": (lambda x: ttnn.from_device(x), "ttnn.from_device in the capture.*Reads are not supported"),
    "item": (lambda x: x.item(), "Reads are not supported"),
    "print": (lambda x: repr(x), "Reads are not supported"),
    "copy to host": (
        lambda x: ttnn.copy_device_to_host_tensor(x, on_host(0.0)),
        "ttnn.copy_device_to_host_tensor in the capture.*Reads are not supported",
    ),
    "copy": (lambda x: ttnn.copy_host_to_device_tensor(on_host(2.0), x), "ttnn.copy_host_to_device_tensor.*Writes are"),
    "from_torch": (
        lambda x: ttnn.from_torch(torch.ones(32, 32), layout=ttnn.TILE_LAYOUT, device=x.device()),
        "ttnn.from_torch in the capture.*Writes are not supported",
    ),
    "to_device": (lambda x: ttnn.to_device(on_host(2.0), x.device()), "ttnn.to_device.*Writes are not supported"),
    "zeros": (
        lambda x: ttnn.zeros((32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=x.device()),
        "ttnn.zeros in the capture.*Writes are not supported",
    ),
    "event": (lambda x: ttnn.record_event(x.device(), 0), "ttnn.record_event.*Event Synchronization is not supported"),
    "synchronize": (lambda x: ttnn.synchronize_device(x.device()), "ttnn.synchronize_device.*Event Synchronization"),
    "uncompiled": (lambda x: ttnn.tanh(x), "ttnn.tanh in the capture of trace .*not yet in the program cache"),
}


@REGION
@pytest.mark.parametrize("what", IN_CAPTURE)
def test_refused_in_a_capture(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, what: str) -> None:
    call, message = IN_CAPTURE[what]
    mesh_device.clear_program_cache()
    ttnn.add(x, x)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    try:
        ttnn.add(x, x)
        with pytest.raises(EmulationError, match=message):
            call(x)
    finally:
        ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    with pytest.raises(EmulationError, match=r"trace \d+ is incomplete, since its capture failed: .*in the capture"):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    ttnn.release_trace(mesh_device, trace)


@REGION
def test_ttnns_own_refusal_makes_a_trace_incomplete(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    wide = ttnn.concat([x, x], dim=-1)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    with pytest.raises(RuntimeError, match=r"width=64 height=32"):
        ttnn.matmul(wide, x)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    with pytest.raises(EmulationError, match=r"ttnn.matmul failed in its capture"):
        ttnn.execute_trace(mesh_device, trace)


@REGION
def test_a_dead_input_makes_the_trace_of_its_output_incomplete(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    dead = ttnn.neg(x)
    ttnn.deallocate(dead)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    with pytest.raises(RuntimeError, match="deallocated"):
        ttnn.neg(dead, output_tensor=x)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    with pytest.raises(EmulationError, match=r"ttnn.neg failed in its capture"):
        ttnn.execute_trace(mesh_device, trace, cq_id=0)


@REGION
def test_a_disabled_program_cache(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    mesh_device.disable_and_clear_program_cache()
    trace = ttnn.begin_trace_capture(mesh_device)
    try:
        with pytest.raises(EmulationError, match=r"ttnn.add .* the program cache is disabled"):
            ttnn.add(x, x)
    finally:
        ttnn.end_trace_capture(mesh_device, trace)
        mesh_device.enable_program_cache()


@REGION
def test_deallocating_in_a_capture_is_legal(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    trace = ttnn.begin_trace_capture(mesh_device)
    middle = ttnn.neg(x)
    out = ttnn.exp(middle)
    ttnn.deallocate(middle)
    ttnn.end_trace_capture(mesh_device, trace)
    ttnn.execute_trace(mesh_device, trace)
    assert ttnn.to_torch(out).float().mean() == pytest.approx(0.3678, abs=2e-3)
    with pytest.raises(EmulationError, match=r"deallocated tensor"):
        ttnn.to_torch(middle)


@REGION
def test_a_tensor_allocated_after_the_capture_where_a_replay_writes(
    mesh_device: ttnn.MeshDevice, x: ttnn.Tensor
) -> None:
    trace = ttnn.begin_trace_capture(mesh_device)
    middle = ttnn.neg(x)
    address = middle.buffer_address()
    out = ttnn.exp(middle)
    ttnn.deallocate(middle)
    ttnn.end_trace_capture(mesh_device, trace)
    late = ttnn.to_device(on_host(5.0), mesh_device)
    assert late.buffer_address() == address
    assert float(ttnn.to_torch(late).max()) == 5.0
    ttnn.execute_trace(mesh_device, trace)
    message = r"allocated after the capture of trace \d+, where ttnn.neg writes in every replay"
    with pytest.raises(EmulationError, match=message):
        ttnn.to_torch(late)
    with pytest.raises(EmulationError, match=message):
        ttnn.add(late, late)
    ttnn.to_torch(out)
    ttnn.copy_host_to_device_tensor(on_host(6.0), late)  # written anew, it is good again
    assert float(ttnn.to_torch(late).max()) == 6.0


@REGION
def test_the_output_of_one_trace_where_another_writes(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    first = ttnn.begin_trace_capture(mesh_device)
    ttnn.deallocate(ttnn.neg(x))
    ttnn.end_trace_capture(mesh_device, first)
    second = ttnn.begin_trace_capture(mesh_device)
    out = ttnn.exp(x)
    ttnn.end_trace_capture(mesh_device, second)
    ttnn.execute_trace(mesh_device, second)
    ttnn.to_torch(out)
    ttnn.execute_trace(mesh_device, first)
    with pytest.raises(EmulationError, match=r"ttnn.neg writes in every replay"):
        ttnn.to_torch(out)


@REGION
def test_an_input_that_is_gone(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    trace = ttnn.begin_trace_capture(mesh_device)
    out = ttnn.neg(x)
    ttnn.end_trace_capture(mesh_device, trace)
    ttnn.deallocate(x)
    message = r"BFLOAT16 buffer of shape \[32, 32\] that ttnn.neg uses in trace \d+ was deallocated after the capture"
    with pytest.raises(EmulationError, match=message):
        ttnn.execute_trace(mesh_device, trace)
    other = ttnn.to_device(on_host(1.0, rows=64), mesh_device)
    with pytest.raises(EmulationError, match=r"its address now holds another tensor \(\[64, 32\] BFLOAT16\)"):
        ttnn.execute_trace(mesh_device, trace)
    del other, out


@pytest.mark.parametrize("device_params", [{"trace_region_size": 40_000}], indirect=True)
def test_the_trace_region_is_full(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    def capture() -> ttnn.MeshTraceId:
        trace = ttnn.begin_trace_capture(mesh_device)
        for _ in range(5):
            ttnn.add(x, x, output_tensor=x)
        ttnn.end_trace_capture(mesh_device, trace)
        return trace

    ttnn.add(x, x, output_tensor=x)
    first, _ = capture(), capture()
    message = r"only \d+ B is allocated for the trace region. Trace \d+ needs about \d+ B \(5 programs; an estimate"
    with pytest.raises(EmulationError, match=message):
        capture()
    ttnn.release_trace(mesh_device, first)
    capture()


@pytest.mark.parametrize("device_params", [{"trace_region_size": 40_000}], indirect=True)
def test_a_trace_that_finds_no_room(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    ttnn.add(x, x, output_tensor=x)
    trace = ttnn.begin_trace_capture(mesh_device)
    for _ in range(15):
        ttnn.add(x, x, output_tensor=x)
    with pytest.raises(EmulationError, match=r"Trace \d+ needs about \d+ B \(15 programs"):
        ttnn.end_trace_capture(mesh_device, trace)
    assert not ttnn.is_trace_capture_active(mesh_device)
    with pytest.raises(EmulationError, match=r"trace \d+ is incomplete, .* is allocated for the trace region"):
        ttnn.execute_trace(mesh_device, trace)
    small = ttnn.begin_trace_capture(mesh_device)  # the other one takes no room
    for _ in range(10):
        ttnn.add(x, x, output_tensor=x)
    ttnn.end_trace_capture(mesh_device, small)
    ttnn.execute_trace(mesh_device, small)
    ttnn.release_trace(mesh_device, trace)


@REGION
@pytest.mark.parametrize("how", ["clear_program_cache", "disable_and_clear_program_cache"])
def test_programs_that_are_gone(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    """The program cache owns the binaries in DRAM, which a replay loads."""
    trace = ttnn.begin_trace_capture(mesh_device)
    ttnn.neg(x)
    ttnn.end_trace_capture(mesh_device, trace)
    ttnn.execute_trace(mesh_device, trace)
    getattr(mesh_device, how)()
    mesh_device.enable_program_cache()
    with pytest.raises(EmulationError, match=rf"can't be replayed any more: MeshDevice.{how} has freed the binaries"):
        ttnn.execute_trace(mesh_device, trace)
    ttnn.neg(x)
    again = ttnn.begin_trace_capture(mesh_device)
    out = ttnn.neg(x)
    ttnn.end_trace_capture(mesh_device, again)
    ttnn.execute_trace(mesh_device, again)
    assert float(ttnn.to_torch(out).max()) == -1.0


@REGION
def test_traces_that_do_not_exist(mesh_device: ttnn.MeshDevice) -> None:
    trace = ttnn.begin_trace_capture(mesh_device)
    with pytest.raises(EmulationError, match=r"still being captured"):
        ttnn.execute_trace(mesh_device, trace)
    with pytest.raises(EmulationError, match=r"queue 0 is already being used for tracing trace"):
        ttnn.begin_trace_capture(mesh_device)
    with pytest.raises(EmulationError, match=r"queue 0 is not being used for tracing trace 987"):
        ttnn.end_trace_capture(mesh_device, ttnn.MeshTraceId(987))
    ttnn.end_trace_capture(mesh_device, trace)
    ttnn.execute_trace(mesh_device, trace)
    ttnn.release_trace(mesh_device, trace)
    with pytest.raises(EmulationError, match=r"ttnn.execute_trace: trace \d+ was released"):
        ttnn.execute_trace(mesh_device, trace)
    ttnn.release_trace(mesh_device, trace)  # TT-Metal erases nothing then, without a word
    with pytest.raises(EmulationError, match=r"ttnn.release_trace: mesh device .* has no trace 987"):
        ttnn.release_trace(mesh_device, ttnn.MeshTraceId(987))
    for call in (ttnn.execute_trace, ttnn.end_trace_capture, ttnn.release_trace):
        with pytest.raises(TypeError, match=r"3 is no trace id; ttnn.begin_trace_capture makes them"):
            call(mesh_device, 3)
