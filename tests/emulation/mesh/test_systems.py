"""Every system opens, at its own shape and at others, and its chips exchange what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

GATHERS = """
import resource, time
import pytest, torch, ttnn

@pytest.mark.parametrize("mesh_device", {meshes}, indirect=True)
def test_gather(mesh_device, record_property):
    rows, cols = mesh_device.shape
    values = torch.randn(rows, cols, 32, 64).bfloat16()
    mapper = ttnn.ShardTensor2dMesh(mesh_device, dims=(0, 1), mesh_shape=(rows, cols))
    placed = ttnn.from_torch(values, layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=mapper)
    for axis, count in enumerate((rows, cols)):
        if count == 1:
            continue
        gathered = ttnn.all_gather(placed, dim=axis, cluster_axis=axis)
        for place, part in enumerate(ttnn.get_device_tensors(gathered)):
            row, col = divmod(place, cols)
            expected = values[:, col : col + 1] if axis == 0 else values[row : row + 1]
            assert torch.equal(ttnn.to_torch(part), expected), (axis, row, col)
    doubled = ttnn.to_torch(
        ttnn.add(placed, placed),
        mesh_composer=ttnn.ConcatMesh2dToTensor(mesh_device, dims=(0, 1), mesh_shape=(rows, cols)),
    )
    assert torch.equal(doubled, 2 * values)
"""


@pytest.mark.parametrize(
    ("system", "meshes"),
    [
        ("n150", [(1, 1)]),
        ("n300", [(1, 2), (2, 1)]),
        ("t3000", [(2, 4), (1, 8), (1, 4), (2, 2), (1, 1)]),
        ("p100", [(1, 1)]),
        ("p150x4", [(2, 2), (1, 4)]),
        ("p150x8", [(2, 4), (1, 8)]),
        ("p300", [(1, 2)]),
        pytest.param("galaxy", [(8, 4), (4, 8), (1, 32)], marks=pytest.mark.slow),
        pytest.param("bh-galaxy", [(8, 4), (4, 8)], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_system_opens_and_gathers(
    run_pytest: Run, tmp_path: Path, system: str, meshes: list[tuple[int, int]]
) -> None:
    (tmp_path / "test_gather.py").write_text(GATHERS.format(meshes=meshes))
    result = run_pytest(f"--tt-system={system}", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(meshes)} passed" in result.stdout


@pytest.mark.parametrize("mesh", ["1x3", "3x5", pytest.param("5x6", marks=pytest.mark.slow)])
def test_custom_is_cabled_as_the_mesh_asked_for(run_pytest: Run, tmp_path: Path, mesh: str) -> None:
    rows, cols = map(int, mesh.split("x"))
    (tmp_path / "test_gather.py").write_text(GATHERS.format(meshes=[(rows, cols)]))
    result = run_pytest("--tt-system=custom", f"--tt-mesh={mesh}", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_a_shape_that_tt_metal_can_not_place(run_pytest: Run, tmp_path: Path) -> None:
    result = run_pytest("--tt-system=galaxy", "--tt-mesh=2x16", cwd=tmp_path)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--tt-mesh=2x16" in result.stderr
    assert "--tt-system=custom" in result.stderr
