"""Mesh graph descriptors: how TT-Metal's fabric is told the shape of a machine that it has no descriptor for.

A text-format protocol buffer of the schema that the descriptors in the TT-NN wheel follow
(`tt_metal/fabric/mesh_graph_descriptors`); `TT_MESH_GRAPH_DESC_PATH` names the file.
"""

from __future__ import annotations

from pytest_ttbringup.emulation.boards import BOARDS
from pytest_ttbringup.emulation.cluster import Cluster
from pytest_ttbringup.targets.systems import CUSTOM

_TEMPLATE = """\
mesh_descriptors {{
  name: "M0"
  arch: {arch}
  device_topology {{ dims: [ {rows}, {cols} ] }}
  host_topology {{ dims: [ 1, 1 ] }}
  channels {{ count: {channels} policy: RELAXED }}
}}
top_level_instance {{ mesh {{ mesh_descriptor: "M0" mesh_id: 0 }} }}
"""


def needs_mesh_graph(cluster: Cluster) -> bool:
    """Whether TT-Metal has no mesh graph of its own for this machine."""
    return cluster.system.name == CUSTOM and len(cluster.chips) > 1


def mesh_graph_descriptor(cluster: Cluster) -> str:
    """The descriptor of the cluster's grid as one mesh on one host."""
    rows, cols = cluster.grid
    channels = len(BOARDS[cluster.system.board].channels[0])
    return _TEMPLATE.format(arch=cluster.system.arch.upper(), rows=rows, cols=cols, channels=channels)
