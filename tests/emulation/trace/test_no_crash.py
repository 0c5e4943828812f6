"""Calls on which TT-Metal's mock cluster crashes or hangs, each in a process of its own: all are refused or done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ttbringup
from pytest_ttbringup.options import settings_of

PROGRAM = """
import sys
from pathlib import Path
from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of
target = EmulatedTarget(system_of("n150"), (1, 1), Path(sys.argv[1]))
target.prepare()
target.install()
import torch, ttnn

def tensor():
    made = ttnn.from_torch(torch.ones(32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
    return ttnn.to_device(made, device)

def dead():
    made = tensor()
    ttnn.deallocate(made)
    return made

def whole():
    cores = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(7, 7))
    return ttnn.SubDevice([ttnn.CoreRangeSet({cores})])

def silent():
    kept, graph = ttnn.neg(tensor()), ttnn.graph
    graph.begin_graph_capture(graph.RunMode.NO_DISPATCH)
    kept = ttnn.neg(kept)  # the one from before dies in the capture
    graph.end_graph_capture()

def host():
    return ttnn.from_torch(torch.ones(32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)

def empty(*shape, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(torch.ones(shape), dtype=ttnn.bfloat16, layout=layout, device=device)

def sub_devices():
    core = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(0, 0))})
    return device.create_sub_device_manager([ttnn.SubDevice([core])], 3200)

def attempt(call):
    global device
    device = ttnn.open_mesh_device(ttnn.MeshShape(1, 1), trace_region_size=1 << 20, num_command_queues=2)
    try:
        exec(call)
    except RuntimeError:
        print("refused", call)
    else:
        print("done", call)
    if ttnn.is_trace_capture_active(device):
        pass  # closing ends it
    ttnn.close_mesh_device(device)

for call in sys.stdin.read().splitlines():
    attempt(call)
print("survived")
"""

REFUSED = """\
ttnn.begin_trace_capture(device); ttnn.add(tensor(), 1.0)
ttnn.execute_trace(device, ttnn.MeshTraceId(7))
device.quiesce_devices()
ttnn.copy_host_to_device_tensor(host(), dead())
ttnn.copy_device_to_host_tensor(dead(), host())
ttnn.dump_tensor("unused.tensorbin", dead())
dead().cpu()
dead().to_torch()
ttnn.concat([dead(), dead()], 0)
ttnn.to_layout(dead(), ttnn.ROW_MAJOR_LAYOUT)
ttnn.clone(dead())
ttnn.embedding(dead(), dead())
ttnn.zeros_like(dead())
ttnn.empty_like(dead())
ttnn.rms_norm(dead())
ttnn.untilize(dead())
ttnn.topk(dead(), 32)
ttnn.split(dead(), 16, 0)
ttnn.neg(dead())
ttnn.where(dead(), dead(), dead())
ttnn.neg(tensor(), output_tensor=dead())
ttnn.close_mesh_device(device); device.create_submesh(ttnn.MeshShape(1, 1))
ttnn.close_mesh_device(device); device.create_submeshes(ttnn.MeshShape(1, 1))
ttnn.close_mesh_device(device); ttnn.begin_trace_capture(device)
ttnn.close_mesh_device(device); ttnn.execute_trace(device, ttnn.MeshTraceId(1))
ttnn.close_mesh_device(device); ttnn.record_event(device, 0)
kept = tensor(); ttnn.close_mesh_device(device); kept.cpu()
kept = tensor(); ttnn.close_mesh_device(device); ttnn.neg(kept)
kept = tensor(); view = ttnn.reshape(kept, (1, 32, 32)); ttnn.deallocate(kept); ttnn.neg(view)
ttnn.concat([empty(0), empty(0)], 0)
ttnn.transpose(empty(0, 32, layout=ttnn.ROW_MAJOR_LAYOUT), -1, -2)
ttnn.permute(empty(0, 32, layout=ttnn.ROW_MAJOR_LAYOUT), (1, 0))
ttnn.rms_norm_pre_all_gather(empty(1, 1, 0, 32))
kept = empty(1, 1, 0, 32); ttnn.begin_trace_capture(device); ttnn.rms_norm_pre_all_gather(kept)
silent(); ttnn._ttnn.reports.get_buffers([device])
silent(); trace = ttnn.begin_trace_capture(device); ttnn.neg(tensor())"""

DONE = """\
ttnn.matmul(empty(1, 1, 0, 32), empty(1, 1, 32, 32))
ttnn.softmax(empty(1, 1, 0, 32), -1)
ttnn.rms_norm(empty(1, 1, 0, 32))
trace = ttnn.begin_trace_capture(device); ttnn.end_trace_capture(device, trace); ttnn.execute_trace(device, trace)
ttnn.begin_trace_capture(device)
ttnn.wait_for_event(1, ttnn.record_event(device, 0))
ttnn.wait_for_event(0, ttnn.record_event(device, 0))
ttnn.close_mesh_device(device)
device.load_sub_device_manager(device.create_sub_device_manager([whole()], 0)); ttnn.neg(tensor())
device.clear_loaded_sub_device_manager(); device.reset_sub_device_stall_group()
device.set_sub_device_stall_group([ttnn.SubDeviceId(0)]); ttnn.synchronize_device(device)
device.load_sub_device_manager(sub_devices()); device.clear_loaded_sub_device_manager()
ttnn.deallocate(dead())
silent(); [tensor() for _ in range(600)]
ttnn.add(ttnn.neg(empty(1, 1, 0, 32)), 1.0)"""


@pytest.mark.parametrize(("calls", "outcome"), [(REFUSED, "refused"), (DONE, "done")], ids=["refused", "done"])
def test_no_call_brings_the_process_down(pytestconfig: pytest.Config, calls: str, outcome: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(pytest_ttbringup.__file__).parents[1])}
    for name in [name for name in environment if name.startswith("TT_METAL_")]:
        del environment[name]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(settings_of(pytestconfig).cache_dir)],
        input=calls,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    said = [line for line in run.stdout.splitlines() if line.split(" ")[0] in ("refused", "done")]
    assert said == [f"{outcome} {call}" for call in calls.splitlines()]
    assert run.stdout.rstrip().endswith("survived")
