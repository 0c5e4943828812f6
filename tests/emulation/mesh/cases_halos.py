"""Collectives on strips of one tensor: borders of the neighbours, and another division. Run on a T3000."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import ttnn

from .chips import fp32_parts, place, random, semaphores

ROWS, COLUMNS = 2, 4
MESH = pytest.mark.parametrize("mesh_device", [(ROWS, COLUMNS)], indirect=True)


@MESH
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_borders_of_neighbours(mesh_device: ttnn.MeshDevice, mode: str) -> None:
    image = random(1, 4, 2 * ROWS, 3 * COLUMNS, 32)  # each chip holds 2 rows of 3 columns
    placed = place(image, mesh_device, (2, 3), layout=ttnn.ROW_MAJOR_LAYOUT, dtype=ttnn.bfloat16)
    *neighbours, barrier = semaphores(mesh_device, 3)
    out = ttnn.experimental.neighbor_pad_async(
        placed, [2, 3], [1, 2], [1, 2], mode, [0, 1], neighbours, [barrier], num_links=[1, 1]
    )
    how = {"mode": "constant" if mode == "zeros" else "replicate"}
    outside = F.pad(image.float().permute(0, 4, 1, 2, 3), (2, 2, 1, 1, 0, 0), **how).permute(0, 2, 3, 4, 1)
    for chip, part in enumerate(fp32_parts(out)):
        row, column = divmod(chip, COLUMNS)
        expected = outside[:, :, 2 * row : 2 * row + 4, 3 * column : 3 * column + 7]
        assert torch.equal(part, expected)
        assert not torch.equal(part, outside[:, :, -4:, -7:]) or chip == ROWS * COLUMNS - 1


@MESH
@pytest.mark.parametrize("first", [0, 3])
def test_another_division(mesh_device: ttnn.MeshDevice, first: int) -> None:
    x = random(4 * COLUMNS, 2, 4, 32)
    placed = place(x, mesh_device, (None, 0), layout=ttnn.ROW_MAJOR_LAYOUT, dtype=ttnn.bfloat16)
    final, barrier = semaphores(mesh_device, 2)
    out = ttnn.experimental.slice_reshard_async(placed, 0, first, 3 * COLUMNS, 1, final, barrier)
    for chip, part in enumerate(fp32_parts(out)):
        start = first + 3 * (chip % COLUMNS)
        assert torch.equal(part, x[start : start + 3].float())
        assert not torch.equal(part, x[start + 1 : start + 4].float())
