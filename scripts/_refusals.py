"""What the emulated device says to calls around traces, events, command queues and memory that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

REFUSALS_HEAD = """
## Refusals around traces, events, command queues and memory

What the emulated device says to each call (`x` and `y` are tensors on the device). Of two command queues, a command
that reads what the other wrote, writes what the other reads or writes what the other wrote is refused unless an event
lies between them that its queue waited for, or the host waited (`ttnn.synchronize_device`, `ttnn.event_synchronize`, a
read or replay that blocks); an address that was freed and is used again counts as the same buffer.

| call | refusal |
|---|---|"""


def print_refusals(cache: Path) -> None:
    """A row for each call."""
    target = EmulatedTarget(system_of("n150"), (1, 1), cache)
    target.prepare()
    target.install()
    import torch

    mesh = target.open_mesh(1, 1, trace_region_size=40_000, num_command_queues=2)
    for title, call in _provoked(torch, mesh):
        print(f"| {title} | {_refusal(title, call)} |", flush=True)
    target.close_mesh(mesh)


def _refusal(title: str, call: Callable[[], Any]) -> str:
    try:
        call()
    except (RuntimeError, TypeError) as error:
        return " ".join(str(error).split()).replace("|", "\\|")
    raise SystemExit(f"{title}: was not refused")


def _provoked(torch: Any, mesh: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    import ttnn

    def host(number: float = 1.0) -> Any:
        return ttnn.from_torch(torch.full((32, 32), number), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)

    def begin() -> Any:
        return ttnn.begin_trace_capture(mesh, cq_id=0)

    x = ttnn.to_device(host(), mesh)
    ttnn.add(x, x, output_tensor=x)
    ttnn.neg(x)
    trace = begin()
    yield "in a capture: `ttnn.to_torch(x)`", lambda: ttnn.to_torch(x)
    yield "in a capture: `ttnn.copy_host_to_device_tensor(host, x)`", lambda: ttnn.copy_host_to_device_tensor(host(), x)
    yield (
        "in a capture: `ttnn.zeros((32, 32), …, device=device)`",
        lambda: ttnn.zeros((32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh),
    )
    yield "in a capture: `ttnn.tanh(x)`, never run before", lambda: ttnn.tanh(x)
    yield "in a capture: `ttnn.record_event(device, 0)`", lambda: ttnn.record_event(mesh, 0)
    yield "in a capture: `ttnn.synchronize_device(device)`", lambda: ttnn.synchronize_device(mesh)
    yield "in a capture: `ttnn.begin_trace_capture(device)`", begin
    yield "in a capture: `ttnn.execute_trace(device, trace)` of it", lambda: ttnn.execute_trace(mesh, trace)
    ttnn.end_trace_capture(mesh, trace, cq_id=0)
    yield "`ttnn.execute_trace` after a refusal in the capture", lambda: ttnn.execute_trace(mesh, trace)
    ttnn.release_trace(mesh, trace)
    yield "`ttnn.execute_trace` of a released trace", lambda: ttnn.execute_trace(mesh, trace)
    yield "`ttnn.end_trace_capture` without a capture", lambda: ttnn.end_trace_capture(mesh, ttnn.MeshTraceId(987))

    trace = begin()
    made = ttnn.neg(x)
    ttnn.deallocate(ttnn.neg(made))
    ttnn.end_trace_capture(mesh, trace, cq_id=0)
    yield "`ttnn.to_torch` of a tensor made in a capture, before a replay", lambda: ttnn.to_torch(made)
    late = ttnn.to_device(host(), mesh)
    ttnn.execute_trace(mesh, trace)
    yield "`ttnn.to_torch` of a tensor allocated after the capture, where a replay writes", lambda: ttnn.to_torch(late)
    ttnn.deallocate(x)
    yield "`ttnn.execute_trace` whose input was deallocated", lambda: ttnn.execute_trace(mesh, trace)
    x = ttnn.to_device(host(), mesh)

    def exhaust() -> None:
        for _ in range(4):
            step = begin()
            for _ in range(5):
                ttnn.add(x, x, output_tensor=x)
            ttnn.end_trace_capture(mesh, step, cq_id=0)

    yield "four captures in a `trace_region_size` of 40,000", exhaust

    def race() -> None:
        ttnn.synchronize_device(mesh)
        ttnn.copy_host_to_device_tensor(host(), x, cq_id=1)
        ttnn.add(x, x)

    def overwrite_unread() -> None:
        ttnn.add(x, x)
        ttnn.copy_host_to_device_tensor(host(), x, cq_id=1)

    def overwrite_unwritten() -> None:
        ttnn.fill(y, 2.0, output_tensor=x)
        ttnn.copy_host_to_device_tensor(host(), x, cq_id=1)

    y = ttnn.to_device(host(), mesh)
    yield "`ttnn.copy_host_to_device_tensor(host, x, cq_id=1)`, then `ttnn.add(x, x)`", race
    ttnn.synchronize_device(mesh)
    yield "`ttnn.add(x, x)`, then `ttnn.copy_host_to_device_tensor(host, x, cq_id=1)`", overwrite_unread
    ttnn.synchronize_device(mesh)
    yield (
        "`ttnn.fill(y, 2.0, output_tensor=x)`, then `ttnn.copy_host_to_device_tensor(host, x, cq_id=1)`",
        overwrite_unwritten,
    )
    ttnn.synchronize_device(mesh)
    ttnn.add(x, x)
    yield "`ttnn.add(x, x)`, then `ttnn.add(x, x, queue_id=1)`", lambda: ttnn.add(x, x, queue_id=1)
    yield "`ttnn.add(x, x, queue_id=5)`", lambda: ttnn.add(x, x, queue_id=5)
    yield "`ttnn.wait_for_event(0, 3)`", lambda: ttnn.wait_for_event(0, 3)
    yield "`device.quiesce_devices()`", lambda: mesh.quiesce_devices()
    yield (
        "128 MiB in L1: `ttnn.to_device(host, device, memory_config=ttnn.L1_MEMORY_CONFIG)`",
        lambda: ttnn.to_device(
            ttnn.from_torch(torch.ones(1 << 16, 1, 32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT),
            mesh,
            memory_config=ttnn.L1_MEMORY_CONFIG,
        ),
    )
    free = ttnn.get_memory_view(mesh, ttnn.BufferType.L1).total_bytes_free_per_bank // 2048
    ones = ttnn.from_torch(torch.ones(64 * (free - 8), 1, 32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    filling = ttnn.to_device(ones, mesh, memory_config=ttnn.L1_MEMORY_CONFIG)
    wide = ttnn.from_torch(torch.ones(2048, 2048), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh)
    yield "`ttnn.softmax` of 2048x2048 with L1 full but for 16 KiB a core", lambda: ttnn.softmax(wide, dim=-1)
    ttnn.deallocate(filling)
    ttnn.deallocate(x)
    yield "`ttnn.to_torch` of a deallocated tensor", lambda: ttnn.to_torch(x)
