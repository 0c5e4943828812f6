"""Every system and mesh shape opened, one all_gather along each axis compared; what the emulated device refuses.

Writes the page docs/meshes.md (it takes some minutes):

    python benchmarks/meshes.py > docs/meshes.md

With `--system=NAME [--mesh=RxC]` it prints the rows of one system. A process has one cluster, so each system runs in a
process of its own, and each mesh of `custom`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import CUSTOM, SYSTEMS, System, system_of

Shape = tuple[int, int]

OF_CUSTOM: tuple[Shape, ...] = ((1, 3), (3, 5), (2, 16), (5, 6), (1, 32))
OF_A_GALAXY: tuple[Shape, ...] = ((8, 4), (4, 8), (1, 32), (32, 1), (4, 4), (8, 2), (2, 4), (1, 8), (1, 1))
LARGE = 8
"""Systems of at most so many chips are opened in every shape, larger ones in some."""


def main() -> None:
    """Print the page, or one system's rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--system")
    parser.add_argument("--mesh")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    if arguments.errors:
        _print_errors(arguments.cache)
    elif arguments.system:
        system = system_of(arguments.system)
        rows, cols = map(int, arguments.mesh.split("x")) if arguments.mesh else (0, 0)
        _print_rows(system, [(rows, cols)] if arguments.mesh else _shapes(system), arguments.cache)
    else:
        _print_page(arguments.cache)


def _shapes(system: System) -> list[Shape]:
    if system.name == CUSTOM:
        return list(OF_CUSTOM)
    if system.chips > LARGE:
        return [shape for shape in OF_A_GALAXY if system.holds(shape)]
    sides = range(1, system.chips + 1)
    every = [(rows, cols) for rows in sides for cols in sides if system.holds((rows, cols))]
    return sorted(every, key=lambda shape: (shape != system.mesh, -shape[0] * shape[1], shape))


def _print_page(cache: Path) -> None:
    print(PAGE_HEAD)
    for system in SYSTEMS:
        meshes = [f"--mesh={rows}x{cols}" for rows, cols in OF_CUSTOM] if system.name == CUSTOM else [""]
        for mesh in meshes:
            _run(cache, f"--system={system.name}", mesh)
    print(ERRORS_HEAD)
    _run(cache, "--errors")


def _run(cache: Path, *arguments: str) -> None:
    sys.stdout.flush()
    command = [sys.executable, __file__, f"--cache={cache}", *filter(None, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    print("".join(line for line in done.stdout.splitlines(keepends=True) if line.startswith("|")), end="")


def _target(system: System, mesh: Shape, cache: Path) -> EmulatedTarget:
    target = EmulatedTarget(system, mesh, cache)
    target.prepare()
    target.install()
    return target


def _print_rows(system: System, shapes: list[Shape], cache: Path) -> None:
    target = _target(system, shapes[0], cache)
    for rows, cols in shapes:
        start = time.perf_counter()
        mesh = target.open_mesh(rows, cols, fabric_config=rows * cols > 1)
        opened = time.perf_counter() - start
        grid = mesh.compute_with_storage_grid_size()
        start = time.perf_counter()
        said = _gather(mesh)
        gathered = time.perf_counter() - start
        target.close_mesh(mesh)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(
            f"| {system.name} | {rows}x{cols} | {grid.x}x{grid.y} | {opened:.2f} s | {said} | {gathered:.2f} s "
            f"| {peak:.0f} MiB |",
            flush=True,
        )


def _gather(mesh: Any) -> str:
    """Gather along each axis, and compare what every chip holds with what PyTorch says; also that it is no other's."""
    import torch
    import ttnn

    rows, cols = mesh.shape
    values = torch.randn(rows, cols, 32, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    mapper = ttnn.ShardTensor2dMesh(mesh, dims=(0, 1), mesh_shape=(rows, cols))
    placed = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper)
    compared = 0
    for axis, count in enumerate((rows, cols)):
        if count == 1:
            continue
        gathered = ttnn.all_gather(placed, dim=axis, cluster_axis=axis)
        for place, part in enumerate(ttnn.get_device_tensors(gathered)):
            row, col = divmod(place, cols)
            expected = values[:, col : col + 1] if axis == 0 else values[row : row + 1]
            got = ttnn.to_torch(part)
            if not torch.equal(got, expected) or torch.equal(got, expected.flip(axis)):
                raise SystemExit(f"all_gather along axis {axis}: chip {row}, {col} holds something else")
            compared += 1
    return f"{compared} parts equal" if compared else "one chip"


PAGE_HEAD = """\
# Meshes, and what the emulated device refuses

Written by `python benchmarks/meshes.py > docs/meshes.md`, measured on the emulated target (no device was involved) on
a machine of two shared cores; the times are those of the machine and the moment. Each row: a mesh opened (with
FABRIC_1D if it has several chips), its grid of worker cores, an `all_gather` along each of its axes in bf16 whose every
part on every chip was compared with PyTorch bit for bit, and the greatest memory of the process until then (PyTorch and
TT-NN take about 620 MiB of it). Systems of up to eight chips are opened in every shape that TT-Metal finds in them,
Galaxies in some.

| system | mesh | cores | opened in | all_gather | in | host memory |
|---|---|---|---:|---|---:|---:|"""

ERRORS_HEAD = """
## Refusals around traces, events and command queues

What the emulated device says, as the calls above each message provoke it (`x` is a tensor on the device).

| call | refusal |
|---|---|"""


def _print_errors(cache: Path) -> None:
    import torch

    target = _target(system_of("n150"), (1, 1), cache)
    mesh = target.open_mesh(1, 1, trace_region_size=40_000, num_command_queues=2)
    for title, call in _errors(torch, mesh):
        print(f"| {title} | {_refusal(title, call)} |", flush=True)
    target.close_mesh(mesh)


def _refusal(title: str, call: Callable[[], Any]) -> str:
    try:
        call()
    except (RuntimeError, TypeError) as error:
        return " ".join(str(error).split()).replace("|", "\\|")
    raise SystemExit(f"{title}: was not refused")


def _errors(torch: Any, mesh: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
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

    yield "`ttnn.copy_host_to_device_tensor(host, x, cq_id=1)`, then `ttnn.add(x, x)`", race
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


if __name__ == "__main__":
    main()
