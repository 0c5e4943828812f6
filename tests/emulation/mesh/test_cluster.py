"""Cluster descriptors, without TT-Metal: chips, boards, cables and what differs between systems."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from pytest_ttbringup.emulation.boards import BOARDS
from pytest_ttbringup.emulation.cluster import cluster_descriptor, cluster_of
from pytest_ttbringup.emulation.mesh_graph import mesh_graph_descriptor, needs_mesh_graph
from pytest_ttbringup.targets.systems import SYSTEMS, System, system_of

NAMED = [system for system in SYSTEMS if system.name != "custom"]


def neighbours(descriptor: dict) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for one, other in descriptor["ethernet_connections"]:
        found[one["chip"]].add(other["chip"])
        found[other["chip"]].add(one["chip"])
    return found


@pytest.mark.parametrize("system", NAMED, ids=lambda system: system.name)
def test_every_system_is_described(system: System) -> None:
    descriptor = cluster_descriptor(cluster_of(system, (1, 1)))
    assert sorted(descriptor["arch"]) == list(range(system.chips))
    assert set(descriptor["arch"].values()) == {system.arch}
    assert sorted(descriptor["harvesting"]) == list(range(system.chips))
    assert len(descriptor["boards"]) == system.boards
    members = [chip for board in descriptor["boards"] for chip in board[2]["chips"]]
    assert sorted(members) == list(range(system.chips))
    for board in descriptor["boards"]:
        assert (board[0]["board_id"] >> 36) & 0xFFFFF == BOARDS[system.board].code
    assert not needs_mesh_graph(cluster_of(system, (1, 1)))


@pytest.mark.parametrize("system", NAMED, ids=lambda system: system.name)
def test_no_ethernet_channel_has_two_cables(system: System) -> None:
    descriptor = cluster_descriptor(cluster_of(system, (1, 1)))
    ends = Counter((end["chip"], end["chan"]) for link in descriptor["ethernet_connections"] for end in link)
    assert max(ends.values(), default=1) == 1
    assert all(channel < (16 if system.arch == "wormhole_b0" else 12) for _, channel in ends)


def test_a_t3000_has_four_chips_on_pci_express_with_three_neighbours_each() -> None:
    descriptor = cluster_descriptor(cluster_of(system_of("t3000"), (2, 4)))
    first = {chip for entry in descriptor["chips_with_mmio"] for chip in entry}
    assert first == {0, 1, 2, 3}
    assert {chip: len(others) for chip, others in neighbours(descriptor).items()} == {
        chip: 3 if chip in first else 2 for chip in range(8)
    }


@pytest.mark.parametrize("name", ["galaxy", "bh-galaxy"])
def test_a_galaxys_rows_and_columns_are_rings(name: str) -> None:
    cluster = cluster_of(system_of(name), (8, 4))
    descriptor = cluster_descriptor(cluster)
    assert all(len(others) == 4 for others in neighbours(descriptor).values())
    assert len(set(descriptor["chip_to_bus_id"].values())) == 32
    assert sorted(Counter(chip.place for chip in cluster.chips.values()).items()) == [(n, 4) for n in range(1, 9)]
    corners = [cluster.chips[cell].place for cell in ((0, 0), (0, 3), (7, 0), (7, 3))]
    assert corners == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("mesh", "grid"),
    [((1, 1), (1, 1)), ((2, 3), (2, 3)), ((1, 3), (1, 4)), ((3, 1), (4, 1)), ((3, 5), (3, 6)), ((1, 31), (1, 32))],
)
def test_custom_has_the_chips_of_the_mesh_and_no_two_odd_sides(mesh: tuple[int, int], grid: tuple[int, int]) -> None:
    cluster = cluster_of(system_of("custom"), mesh)
    assert cluster.grid == grid
    assert needs_mesh_graph(cluster) == (mesh != (1, 1))
    assert f"dims: [ {grid[0]}, {grid[1]} ]" in mesh_graph_descriptor(cluster)
    links = len({(a["chip"], b["chip"]) for a, b in cluster_descriptor(cluster)["ethernet_connections"]})
    rows, cols = grid
    assert links == rows * (cols - 1) + cols * (rows - 1)


@pytest.mark.parametrize(
    ("system", "fitting", "unfitting"),
    [
        ("t3000", [(2, 4), (4, 2), (1, 8), (8, 1), (2, 3), (1, 5)], [(3, 3), (1, 9)]),
        ("galaxy", [(8, 4), (4, 8), (1, 32), (5, 4)], [(2, 16), (16, 2), (6, 5), (1, 33)]),
        ("custom", [(2, 16), (5, 6), (1, 32)], [(3, 11)]),
        ("n150", [(1, 1)], [(1, 2)]),
    ],
)
def test_which_meshes_a_system_holds(system: str, fitting: list, unfitting: list) -> None:
    assert all(system_of(system).holds(mesh) for mesh in fitting)
    assert not any(system_of(system).holds(mesh) for mesh in unfitting)
