"""A replayed trace computes what the same calls would, from what the buffers hold then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation import EmulationError

pytestmark = pytest.mark.parametrize("device_params", [{"trace_region_size": 1 << 20}], indirect=True)


def on_host(values: torch.Tensor) -> ttnn.Tensor:
    return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)


def on_device(values: torch.Tensor, device: ttnn.MeshDevice) -> ttnn.Tensor:
    return ttnn.to_device(on_host(values), device)


def full(value: float) -> torch.Tensor:
    return torch.full((32, 32), value)


def value(tensor: ttnn.Tensor) -> float:
    (only,) = ttnn.to_torch(tensor).float().unique().tolist()
    return only


@contextmanager
def captured(device: ttnn.MeshDevice) -> Iterator[ttnn.MeshTraceId]:
    trace = ttnn.begin_trace_capture(device, cq_id=0)
    try:
        yield trace
    finally:
        ttnn.end_trace_capture(device, trace, cq_id=0)


def twice_plus_one(x: ttnn.Tensor) -> ttnn.Tensor:
    doubled = ttnn.multiply(x, 2.0)
    out = ttnn.add(doubled, 1.0)
    ttnn.deallocate(doubled)
    return out


@pytest.fixture
def x(mesh_device: ttnn.MeshDevice) -> ttnn.Tensor:
    return on_device(full(1.0), mesh_device)


def test_reads_its_inputs_as_they_are_at_the_replay(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    twice_plus_one(x)
    with captured(mesh_device) as trace:
        out = twice_plus_one(x)
    for number in (3.0, -4.0):
        ttnn.copy_host_to_device_tensor(on_host(full(number)), x)
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=False)
        assert value(out) == 2 * number + 1


def test_a_capture_computes_nothing(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    twice_plus_one(x)
    with captured(mesh_device):
        out = twice_plus_one(x)
    with pytest.raises(EmulationError, match=r"ttnn\.add makes it in trace \d+, which has not been executed"):
        ttnn.to_torch(out)


def test_updates_in_place_happen_at_each_replay_and_not_in_the_capture(mesh_device: ttnn.MeshDevice) -> None:
    counter = ttnn.from_torch(torch.zeros(1, 32, dtype=torch.int32), device=mesh_device)
    ttnn.plus_one(counter)
    with captured(mesh_device) as trace:
        ttnn.plus_one(counter)
        ttnn.plus_one(counter)
    assert ttnn.to_torch(counter).unique().tolist() == [1]
    for _ in range(3):
        ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert ttnn.to_torch(counter).unique().tolist() == [7]


def test_a_preallocated_output_and_an_addition_in_place(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    total = on_device(full(0.0), mesh_device)
    step = ttnn.multiply(x, 3.0)

    def accumulate() -> None:
        ttnn.multiply(x, 3.0, output_tensor=step)
        ttnn.add_(total, step)

    accumulate()
    with captured(mesh_device) as trace:
        accumulate()
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert (value(step), value(total)) == (3.0, 9.0)


def test_views_inside_a_capture(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    def run() -> ttnn.Tensor:
        return ttnn.add(ttnn.reshape(ttnn.add(x, 1.0), (1, 1, 32, 32)), 1.0)

    run()
    with captured(mesh_device) as trace:
        out = run()
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert value(out) == 3.0


OPERATIONS: dict[str, Callable[[ttnn.Tensor], ttnn.Tensor]] = {
    "softmax": lambda x: ttnn.softmax(x, dim=-1),
    "rms_norm": lambda x: ttnn.rms_norm(x),
    "concat": lambda x: ttnn.concat([x, x], dim=0),
    "sum": lambda x: ttnn.sum(x, dim=-1),
    "typecast": lambda x: ttnn.typecast(x, ttnn.bfloat8_b),
    "permute": lambda x: ttnn.permute(x, (1, 0)),
    "topk": lambda x: ttnn.topk(x, 32)[0],
    "to_memory_config": lambda x: ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG),
    "matmul": lambda x: ttnn.matmul(x, x, transpose_b=True),
    "where": lambda x: ttnn.where(x, x, 0.0),
    "untilize": lambda x: ttnn.untilize(x),
    "slice": lambda x: x[:, 32:],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_many_kinds(mesh_device: ttnn.MeshDevice, name: str) -> None:
    operation = OPERATIONS[name]
    values = torch.randn(32, 64)
    x = on_device(torch.zeros_like(values), mesh_device)
    operation(x)
    with captured(mesh_device) as trace:
        out = operation(x)
    ttnn.copy_host_to_device_tensor(on_host(values), x)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert torch.equal(ttnn.to_torch(out), ttnn.to_torch(operation(x)))


def test_two_traces_follow_each_other(mesh_device: ttnn.MeshDevice, x: ttnn.Tensor) -> None:
    first = twice_plus_one(x)
    twice_plus_one(first)
    with captured(mesh_device) as one:
        first = twice_plus_one(x)
    with captured(mesh_device) as two:
        second = twice_plus_one(first)
    ttnn.execute_trace(mesh_device, one, cq_id=0, blocking=False)
    ttnn.execute_trace(mesh_device, two, cq_id=0, blocking=False)
    assert value(second) == 7.0


def test_an_input_freed_in_the_capture_and_allocated_again_at_its_address(mesh_device: ttnn.MeshDevice) -> None:
    def fresh() -> ttnn.Tensor:
        return ttnn.to_memory_config(on_device(full(1.0), mesh_device), ttnn.L1_MEMORY_CONFIG)

    def run(tensor: ttnn.Tensor) -> ttnn.Tensor:
        out = ttnn.add(tensor, 1.0, memory_config=ttnn.L1_MEMORY_CONFIG)
        ttnn.deallocate(tensor)
        return out

    run(fresh())
    tensor = fresh()
    address, spec = tensor.buffer_address(), tensor.spec
    trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
    out = run(tensor)
    again = ttnn.allocate_tensor_on_device(spec, mesh_device)
    ttnn.end_trace_capture(mesh_device, trace, cq_id=0)
    assert again.buffer_address() == address
    ttnn.copy_host_to_device_tensor(on_host(full(5.0)), again)
    ttnn.execute_trace(mesh_device, trace, cq_id=0, blocking=True)
    assert value(out) == 6.0


def test_every_name_of_the_trace_functions_is_replaced(mesh_device: ttnn.MeshDevice) -> None:
    for name in ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace"):
        assert getattr(ttnn, name) is getattr(ttnn._ttnn.operations.trace, name)
    assert not ttnn.is_trace_capture_active(mesh_device)
    trace = ttnn._ttnn.operations.trace.begin_trace_capture(mesh_device)
    assert isinstance(trace, ttnn.MeshTraceId)
    assert ttnn.is_trace_capture_active(mesh_device)
    ttnn.end_trace_capture(mesh_device, trace)
    ttnn.release_trace(mesh_device, trace)
