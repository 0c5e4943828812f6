"""Two command queues: what only events order is an error without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError
from pytest_ttbringup.emulation.queues import CommandQueues

pytestmark = pytest.mark.parametrize(
    "device_params", [{"num_command_queues": 2, "trace_region_size": 1 << 20}], indirect=True
)


def on_host(number: float) -> ttnn.Tensor:
    return ttnn.from_torch(torch.full((32, 32), number), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)


@pytest.fixture
def x(mesh_device: ttnn.MeshDevice) -> ttnn.Tensor:
    tensor = ttnn.to_device(on_host(1.0), mesh_device)
    ttnn.synchronize_device(mesh_device)
    return tensor


def pass_event(device: ttnn.MeshDevice, source: int, target: int) -> None:
    ttnn.wait_for_event(target, ttnn.record_event(device, source))


def test_using_what_another_queue_writes(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    with pytest.raises(
        EmulationError,
        match=r"race between command queues: ttnn.add on queue 0 reads the DRAM buffer at 0x\w+ that "
        r"ttnn.copy_host_to_device_tensor on queue 1 wrote.*ttnn.record_event\(mesh_device, 1\).*"
        r"ttnn.wait_for_event\(0, event\)",
    ):
        ttnn.add(x, x)
    pass_event(mesh_device, 1, 0)
    assert float(ttnn.to_torch(ttnn.add(x, x)).max()) == 4.0


def test_overwriting_what_another_queue_reads(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    ttnn.add(x, x)
    with pytest.raises(
        EmulationError,
        match=r"ttnn.copy_host_to_device_tensor on queue 1 writes .*ttnn.add on queue 0 reads.*queue 1 wait for it; on "
        r"the hardware ttnn.add may get the new values. After ttnn.add: event = ttnn.record_event\(mesh_device, 0\); "
        r"before ttnn.copy_host_to_device_tensor: ttnn.wait_for_event\(1, event\)",
    ):
        ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    pass_event(mesh_device, 0, 1)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)


def test_overwriting_what_another_queue_reads_without_blocking(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    x.cpu(blocking=False, cq_id=1)
    ttnn.add(x, x)  # of two reads either may be first
    with pytest.raises(EmulationError, match=r"ttnn.fill on queue 0 writes .* that ttnn.from_device on queue 1 reads"):
        ttnn.fill(x, 3.0, output_tensor=x)
    pass_event(mesh_device, 1, 0)
    assert float(ttnn.to_torch(ttnn.fill(x, 3.0, output_tensor=x)).max()) == 3.0


def test_overwriting_what_another_queue_writes(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    y = ttnn.to_device(on_host(2.0), mesh_device)
    ttnn.add(y, y, output_tensor=x)
    with pytest.raises(
        EmulationError,
        match=r"ttnn.copy_host_to_device_tensor on queue 1 writes the DRAM buffer at 0x\w+ that ttnn.add on queue 0 "
        r"wrote.*the values of ttnn.add may be those that stay. After ttnn.add: event = "
        r"ttnn.record_event\(mesh_device, 0\); before ttnn.copy_host_to_device_tensor: ttnn.wait_for_event\(1, event\)",
    ):
        ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)
    pass_event(mesh_device, 0, 1)
    ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)
    assert float(ttnn.to_torch(x, cq_id=1).max()) == 3.0


def test_a_refused_write_is_refused_again(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    """As if it had never been tried: the read that it may not pass is still under way."""
    ttnn.add(x, x)
    for _ in range(2):
        with pytest.raises(EmulationError, match=r"queue 1 writes .*ttnn.add on queue 0 reads"):
            ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=0)
    assert float(ttnn.to_torch(x).max()) == 2.0
    ttnn.synchronize_device(mesh_device)


def test_a_refused_read_holds_nobody_up(x: ttnn.Tensor) -> None:
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    with pytest.raises(EmulationError, match=r"ttnn.add on queue 0 reads"):
        ttnn.add(x, x)
    ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)
    assert float(ttnn.to_torch(x, cq_id=1).max()) == 3.0


def test_an_event_stands_for_all_that_its_queue_waited_for(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    """Queue 1 overwrites what queue 0 read before it made what queue 1 has waited for and read."""
    out = ttnn.add(x, x)
    with pytest.raises(EmulationError, match=r"ttnn.add on queue 0 reads"):
        ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    pass_event(mesh_device, 0, 1)
    read = out.cpu(blocking=False, cq_id=1)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    ttnn.synchronize_device(mesh_device)
    assert float(ttnn.to_torch(read).max()) == 2.0
    assert float(ttnn.to_torch(x, cq_id=1).max()) == 2.0


def test_an_event_recorded_too_early_does_not_help(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    event = ttnn.record_event(mesh_device, 1)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    ttnn.wait_for_event(0, event)
    with pytest.raises(EmulationError, match=r"race between command queues"):
        ttnn.add(x, x)


def test_reading_on_another_queue(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    out = ttnn.add(x, x)
    with pytest.raises(EmulationError, match=r"on queue 1 reads .* that ttnn.add on queue 0 wrote"):
        out.cpu(cq_id=1)
    pass_event(mesh_device, 0, 1)
    out.cpu(cq_id=1)


def test_an_address_used_again_by_the_other_queue(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    first = ttnn.add(x, x)
    address = first.buffer_address()
    ttnn.deallocate(first)
    with pytest.raises(EmulationError, match=r"ttnn.to_device on queue 1 writes .* that ttnn.add on queue 0 wrote"):
        ttnn.to_device(on_host(1.0), mesh_device, queue_id=1)
    pass_event(mesh_device, 0, 1)
    assert ttnn.to_device(on_host(1.0), mesh_device, queue_id=1).buffer_address() == address


HOST_WAITS: dict[str, Callable[[ttnn.MeshDevice, ttnn.Tensor], Any]] = {
    "synchronize_device": lambda device, _: ttnn.synchronize_device(device),
    "synchronize_device of the queue": lambda device, _: ttnn.synchronize_device(device, 1),
    "event_synchronize": lambda device, _: ttnn.event_synchronize(ttnn.record_event(device, 1)),
    "a blocking read": lambda _, x: x.cpu(cq_id=1),
    "a blocking read, by position": lambda _, x: x.cpu(True, 1),
}


@pytest.mark.parametrize("how", HOST_WAITS)
def test_the_host_orders_what_it_waits_for(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    with pytest.raises(EmulationError, match=r"race between command queues"):
        ttnn.add(x, x)
    HOST_WAITS[how](mesh_device, x)
    assert float(ttnn.to_torch(ttnn.add(x, x)).max()) == 4.0


def test_a_read_that_does_not_block_orders_nothing(x: ttnn.Tensor) -> None:
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    x.cpu(blocking=False, cq_id=1)
    with pytest.raises(EmulationError, match=r"race between command queues"):
        ttnn.add(x, x)


def test_a_program_on_the_queue_that_does_not_own_the_cores(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    ttnn.add(x, x)
    with pytest.raises(RuntimeError, match=r"currently in use by cq 0. Can't enqueue program from cq 1"):
        ttnn.add(x, x, queue_id=1)
    pass_event(mesh_device, 0, 1)
    ttnn.add(x, x, queue_id=1)
    pass_event(mesh_device, 1, 0)
    ttnn.add(x, x)


def owned(device: ttnn.MeshDevice, x: ttnn.Tensor) -> ttnn.Tensor:
    """Another tensor, while queue 0 runs programs."""
    y = ttnn.to_device(on_host(2.0), device)
    ttnn.synchronize_device(device)
    ttnn.add(x, x, output_tensor=x)
    return y


BY_EVENTS: dict[str, tuple[Callable[[ttnn.MeshDevice], Any], bool]] = {
    "a later event": (lambda it: [ttnn.record_event(it, 0), pass_event(it, 0, 1)], True),
    "event_synchronize": (lambda it: ttnn.event_synchronize(ttnn.record_event(it, 0)), False),
    "its own event": (lambda it: pass_event(it, 0, 0), False),
    "synchronize_device": (lambda it: ttnn.synchronize_device(it, 0), True),
    "synchronize_device of the other": (lambda it: ttnn.synchronize_device(it, 1), False),
}


@pytest.mark.parametrize("how", BY_EVENTS)
def test_what_passes_the_cores_on(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    """As TT-Metal's `CQOwnerState` has it: a finish of the queue, or the other one's wait for its event."""
    y = owned(mesh_device, x)
    call, passes = BY_EVENTS[how]
    call(mesh_device)
    if passes:
        ttnn.add(y, y, output_tensor=y, queue_id=1)
    else:
        with pytest.raises(EmulationError, match=r"currently in use by cq 0. Can't enqueue program from cq 1"):
            ttnn.add(y, y, output_tensor=y, queue_id=1)


def test_an_event_before_the_program_does_not_pass_the_cores_on(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    owned(mesh_device, x)
    early = ttnn.record_event(mesh_device, 0)
    y = owned(mesh_device, x)
    late = ttnn.record_event(mesh_device, 0)
    ttnn.wait_for_event(1, early)
    with pytest.raises(EmulationError, match=r"currently in use by cq 0"):
        ttnn.add(y, y, output_tensor=y, queue_id=1)
    ttnn.wait_for_event(1, late)
    ttnn.add(y, y, output_tensor=y, queue_id=1)


def test_a_blocking_read_passes_the_cores_on(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    y = owned(mesh_device, x)
    x.cpu()
    ttnn.add(y, y, output_tensor=y, queue_id=1)


def test_a_refused_operation_takes_no_cores(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    wide = ttnn.to_device(ttnn.from_torch(torch.ones(32, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT), x.device())
    ttnn.synchronize_device(mesh_device)
    with pytest.raises(RuntimeError, match=r"width=64 height=32"):
        ttnn.matmul(wide, x, queue_id=1)
    ttnn.add(x, x, output_tensor=x)


PLACES: dict[str, Callable[[ttnn.MeshDevice, ttnn.Tensor], Any]] = {
    "Tensor.cpu": lambda _, x: x.cpu(False, 1),
    "copy_device_to_host_tensor": lambda _, x: ttnn.copy_device_to_host_tensor(x, on_host(0.0), False, 1),
}


@pytest.mark.parametrize("how", PLACES)
def test_a_queue_given_by_position(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    ttnn.fill(x, 2.0, output_tensor=x)
    with pytest.raises(EmulationError, match=r"on queue 1 reads"):
        PLACES[how](mesh_device, x)
    pass_event(mesh_device, 0, 1)
    PLACES[how](mesh_device, x)
    with pytest.raises(EmulationError, match=r"on queue 0 writes .* on queue 1 reads"):
        ttnn.fill(x, 2.0, output_tensor=x)


def test_a_tensor_put_on_the_device_by_a_queue_given_by_position(mesh_device: ttnn.MeshDevice) -> None:
    placed = on_host(1.0).to(mesh_device, ttnn.DRAM_MEMORY_CONFIG, 1)
    with pytest.raises(EmulationError, match=r"ttnn.add on queue 0 reads .* ttnn.to_device on queue 1 wrote"):
        ttnn.add(placed, placed)


NAMING_THE_QUEUE: dict[str, Callable[[ttnn.Tensor], Any]] = {
    "queue_id": lambda x: ttnn.add(x, x, queue_id=1),
    "cq_id": lambda x: ttnn.add(x, x, cq_id=1),
    "command_queue": lambda x: _within(1, lambda: ttnn.add(x, x)),
}


def _within(queue: int, call: Callable[[], Any]) -> Any:
    with ttnn.command_queue(queue):
        return call()


@pytest.mark.parametrize("how", NAMING_THE_QUEUE)
def test_every_way_of_naming_a_queue(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, how: str) -> None:
    early = ttnn.record_event(mesh_device, 0)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x)
    ttnn.wait_for_event(1, early)
    with pytest.raises(EmulationError, match=r"ttnn.add on queue 1 reads"):
        NAMING_THE_QUEUE[how](x)
    pass_event(mesh_device, 0, 1)
    NAMING_THE_QUEUE[how](x)


def test_a_replay_is_a_command_of_its_queue(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    ttnn.add(x, x)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    out = ttnn.add(x, x)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.synchronize_device(mesh_device)
    ttnn.copy_host_to_device_tensor(on_host(2.0), x, cq_id=1)
    with pytest.raises(EmulationError, match=r"ttnn.execute_trace \(trace \d+\) on queue 0 reads"):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
    pass_event(mesh_device, 1, 0)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
    with pytest.raises(EmulationError, match=r"that ttnn.execute_trace \(trace \d+\) on queue 0 wrote"):
        out.cpu(cq_id=1)
    with pytest.raises(EmulationError, match=r"on queue 1 writes .* ttnn.execute_trace \(trace \d+\) on queue 0 reads"):
        ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)


@pytest.fixture
def trace(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> ttnn.MeshTraceId:
    """Doubles x in place."""
    ttnn.add(x, x, output_tensor=x)
    number = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    ttnn.add(x, x, output_tensor=x)
    ttnn.end_trace_capture(mesh_device, number, cq_id=0)
    return number


def test_the_end_of_a_capture_waits_for_its_queue(
    mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, trace: ttnn.MeshTraceId
) -> None:
    """TT-Metal writes the trace with a blocking write; TT-NN's test_multi_device_multi_trace relies on it."""
    ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)
    pass_event(mesh_device, 1, 0)
    ttnn.execute_trace(mesh_device, trace, cq_id=0)
    assert float(ttnn.to_torch(x).max()) == 6.0


def test_a_replay_takes_the_cores(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, trace: ttnn.MeshTraceId) -> None:
    y = owned(mesh_device, x)
    ttnn.add(y, y, output_tensor=y)
    ttnn.event_synchronize(ttnn.record_event(mesh_device, 0))
    with pytest.raises(EmulationError, match=r"currently in use by cq 0. Can't enqueue program from cq 1"):
        ttnn.execute_trace(mesh_device, trace, cq_id=1, blocking=False)
    ttnn.synchronize_device(mesh_device)
    ttnn.execute_trace(mesh_device, trace, cq_id=1, blocking=False)
    with pytest.raises(EmulationError, match=r"currently in use by cq 1. Can't enqueue program from cq 0"):
        ttnn.add(y, y, output_tensor=y)
    pass_event(mesh_device, 1, 0)
    ttnn.add(y, y, output_tensor=y)
    pass_event(mesh_device, 0, 1)
    ttnn.execute_trace(mesh_device, trace, cq_id=1, blocking=True)
    ttnn.add(y, y, output_tensor=y)


def test_a_capture_takes_no_cores(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    """It only records: the other queue may have run programs before, and may go on after it."""
    y = ttnn.to_device(on_host(2.0), mesh_device)
    ttnn.add(x, x, output_tensor=x)
    ttnn.synchronize_device(mesh_device)
    ttnn.add(y, y, output_tensor=y, queue_id=1)
    number = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    ttnn.add(x, x, output_tensor=x)
    ttnn.end_trace_capture(mesh_device, number, cq_id=0)
    ttnn.add(y, y, output_tensor=y, queue_id=1)
    assert float(ttnn.to_torch(y, cq_id=1).max()) == 8.0


BESIDE: dict[str, tuple[Callable[[ttnn.MeshDevice, ttnn.Tensor, ttnn.MeshTraceId], Any], str]] = {
    "write": (lambda _, y, __: ttnn.copy_host_to_device_tensor(on_host(1.0), y, cq_id=1), "it is on queue 1"),
    "read": (lambda _, y, __: y.cpu(cq_id=1), r"ttnn.from_device in the capture of trace \d+: it is on queue 1"),
    "operation": (
        lambda _, y, __: ttnn.add(y, y, queue_id=1),
        r"ttnn.add in the capture of trace \d+: it is on queue 1",
    ),
    "replay": (lambda device, _, trace: ttnn.execute_trace(device, trace, cq_id=1), "ttnn.execute_trace .*on queue 1"),
    "event": (lambda device, _, __: ttnn.record_event(device, 1), "Event Synchronization is not supported"),
    "synchronize": (lambda device, _, __: ttnn.synchronize_device(device, 1), "Event Synchronization is not supported"),
}


@pytest.mark.parametrize("what", BESIDE)
def test_no_other_queue_works_during_a_capture(
    mesh_device: ttnn.MeshDevice, x: ttnn.Tensor, trace: ttnn.MeshTraceId, what: str
) -> None:
    """TT-Metal's bypass mode is the chip's, so that commands of all queues go nowhere."""
    call, message = BESIDE[what]
    y = ttnn.to_device(on_host(2.0), mesh_device)
    ttnn.synchronize_device(mesh_device)
    number = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    ttnn.add(x, x, output_tensor=x)
    with pytest.raises(EmulationError, match=r"queue 0 is already being used for tracing trace \d+"):
        ttnn.begin_trace_capture(mesh_device, cq_id=1)
    with pytest.raises(EmulationError, match=message):
        call(mesh_device, y, trace)
    ttnn.end_trace_capture(mesh_device, number, cq_id=0)
    with pytest.raises(EmulationError, match=r"is incomplete"):
        ttnn.execute_trace(mesh_device, number, cq_id=0)


def test_waiting_in_a_capture(mesh_device: ttnn.MeshDevice) -> None:
    event = ttnn.record_event(mesh_device, 0)
    number = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    for queue in (0, 1):
        with pytest.raises(EmulationError, match=r"ttnn.wait_for_event in .*Event Synchronization is not supported"):
            ttnn.wait_for_event(queue, event)
    ttnn.end_trace_capture(mesh_device, number, cq_id=0)


def test_a_replay_overwrites_what_another_queue_reads(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    """The output of a trace, which the next replay writes at the same place."""
    ttnn.add(x, x)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    out = ttnn.add(x, x)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    for _ in range(2):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
        pass_event(mesh_device, 0, 1)
        out.cpu(blocking=False, cq_id=1)
        with pytest.raises(EmulationError, match=r"queue 0 writes .* ttnn.from_device on queue 1 reads"):
            ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
        pass_event(mesh_device, 1, 0)


def test_a_replay_that_only_writes_a_buffer(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    y = ttnn.to_device(on_host(2.0), mesh_device)
    ttnn.add(y, y, output_tensor=x)
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    ttnn.add(y, y, output_tensor=x)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    ttnn.synchronize_device(mesh_device)
    ttnn.copy_host_to_device_tensor(on_host(3.0), x, cq_id=1)
    with pytest.raises(EmulationError, match=r"ttnn.execute_trace \(trace \d+\) on queue 0 writes .* queue 1 wrote"):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
    pass_event(mesh_device, 1, 0)
    ttnn.execute_trace(mesh_device, trace, cq_id=0)
    assert float(ttnn.to_torch(x).max()) == 4.0


def test_the_overlapped_loop_of_ttnns_demos(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    work = ttnn.clone(x)
    done = ttnn.record_event(mesh_device, 0)
    for number in range(4):
        ttnn.wait_for_event(1, done)
        ttnn.copy_host_to_device_tensor(on_host(float(number)), x, cq_id=1)
        written = ttnn.record_event(mesh_device, 1)
        ttnn.wait_for_event(0, written)
        ttnn.copy(x, work)
        done = ttnn.record_event(mesh_device, 0)
        out = ttnn.add(work, 1.0)
        assert float(ttnn.to_torch(out).max()) == number + 1


def test_queues_that_do_not_exist(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"cq_id 5 is out of range"):
        ttnn.add(x, x, queue_id=5)
    with pytest.raises(RuntimeError, match=r"cq_id 5 is out of range"):
        ttnn.begin_trace_capture(mesh_device, cq_id=5)
    with pytest.raises(EmulationError, match=r"command queue 5 is out of range"):
        ttnn.wait_for_event(5, ttnn.record_event(mesh_device, 0))
    with pytest.raises(TypeError, match=r"is no event"):
        ttnn.wait_for_event(0, 3)


def test_what_is_known_through_the_host(mesh_device: ttnn.MeshDevice) -> None:  # noqa: ARG001
    queues = CommandQueues()
    place = (0, ttnn.BufferType.DRAM.value, 64)
    queues.command("write", 0, 0, reads=[], writes=[place])
    with pytest.raises(EmulationError, match=r"read on queue 1 reads .* that write on queue 0 wrote"):
        queues.command("read", 1, 0, reads=[place], writes=[])
    queues.host_waits(queues.record(0, 0))
    queues.command("read", 1, 0, reads=[place], writes=[])
    with pytest.raises(EmulationError, match=r"write on queue 0 writes .* that read on queue 1 reads"):
        queues.command("write", 0, 0, reads=[], writes=[place])
