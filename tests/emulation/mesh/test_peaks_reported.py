"""The peak memory of tests on a mesh and its submeshes, in the record and below the board."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from .conftest import Run

TILE_BYTES = 2048

TESTS = """
import pytest, torch, ttnn

pytestmark = pytest.mark.stage("decode modules")

def tensor(mesh, tiles, kind=ttnn.DRAM_MEMORY_CONFIG):
    host = ttnn.from_torch(torch.ones(tiles, 1, 32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    return ttnn.to_device(host, mesh, memory_config=kind)

def test_mesh(mesh_device, compare):
    held = tensor(mesh_device, 120), tensor(mesh_device, 64 * 3, ttnn.L1_MEMORY_CONFIG)
    compare.check("some", True)

def test_submeshes(mesh_device, compare):
    one, other = mesh_device.create_submeshes(ttnn.MeshShape(1, 4))
    held = tensor(one, 240), tensor(other, 360), tensor(other, 64, ttnn.L1_MEMORY_CONFIG)
    compare.check("some", True)
"""


def test_record_and_board_agree_on_a_mesh_and_its_submeshes(run_pytest: Run, tmp_path: Path) -> None:
    (tmp_path / "test_memory.py").write_text(TESTS)
    wanted = ("--tt-system=t3000", "--tt-mesh=2x4", "--junitxml=junit.xml", "-v")  # of a -q, which leaves out the board
    said = run_pytest(*wanted, "test_memory.py", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    found: dict[str, list[tuple[int, int]]] = {}
    for case in ET.parse(tmp_path / "junit.xml").iter("testcase"):
        entries = (json.loads(it.get("value", "")) for it in case.iter("property") if it.get("name") == "ttbringup")
        memory = [(it["dram"]["peak"], it["l1"]["peak"]) for it in entries if it["kind"] == "memory"]
        found[case.get("name", "")] = memory
    assert found == {
        "test_mesh": [(10 * TILE_BYTES, 3 * TILE_BYTES)],
        "test_submeshes": [(0, 0), (20 * TILE_BYTES, 0), (30 * TILE_BYTES, TILE_BYTES)],
    }
    (line,) = re.findall(r"^peak memory of tests \(emulated\): .*", said.stdout, re.MULTILINE)
    assert f"L1 {3 * 2} KiB of " in line
    assert f"DRAM {12 * 30 * 2} KiB of " in line  # in 12 banks
    assert "(mesh)" in line
    assert "(submeshes)" in line
