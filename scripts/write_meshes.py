"""Every system and mesh shape opened, one all_gather along each axis compared; what the emulated device refuses.

Writes the page docs/meshes.md (it takes some minutes):

    python scripts/write_meshes.py > docs/meshes.md

With `--system=NAME [--mesh=RxC]` it prints the rows of one system. A process has one cluster, so each system runs in a
process of its own, and each mesh of `custom`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _refusals import REFUSALS_HEAD, print_refusals

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
    parser.add_argument("--refusals", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    if arguments.refusals:
        print_refusals(arguments.cache)
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
    print(REFUSALS_HEAD)
    _run(cache, "--refusals")


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

Written by `python scripts/write_meshes.py > docs/meshes.md`, measured on the emulated target (no device was involved)
on a machine of two shared cores; the times are those of the machine and the moment. Each row: a mesh opened (with
FABRIC_1D if it has several chips), its grid of worker cores, an `all_gather` along each of its axes in bf16 whose every
part on every chip was compared with PyTorch bit for bit, and the greatest memory of the process until then (PyTorch and
TT-NN take about 620 MiB of it). Systems of up to eight chips are opened in every shape that TT-Metal finds in them,
Galaxies in some.

| system | mesh | cores | opened in | all_gather | in | host memory |
|---|---|---|---:|---|---:|---:|"""


if __name__ == "__main__":
    main()
