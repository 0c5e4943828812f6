"""Child processes of one that has a mesh open: they end, and are told that the device is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ttbringup
from pytest_ttbringup.options import settings_of

PROGRAM = """
import multiprocessing, os, signal, sys
from pathlib import Path
from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of
target = EmulatedTarget(system_of("n150"), (1, 1), Path(sys.argv[1]))
target.prepare()
target.install()
import torch, ttnn
device = ttnn.open_mesh_device(ttnn.MeshShape(1, 1))
host = ttnn.from_torch(torch.ones(32, 32), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)
x = ttnn.to_device(host, device)
ttnn.neg(x)

def use():
    calls = {
        "operation": lambda: ttnn.neg(x), "new program": lambda: ttnn.tanh(x), "read": lambda: x.cpu(),
        "to_device": lambda: ttnn.to_device(host, device), "Tensor.to": lambda: host.to(device),
        "from_torch": lambda: ttnn.from_torch(torch.ones(32, 32), device=device),
        "synchronize": lambda: ttnn.synchronize_device(device), "close": lambda: ttnn.close_mesh_device(device),
        "capture": lambda: ttnn.begin_trace_capture(device), "zeros": lambda: ttnn.zeros((32, 32), device=device),
    }
    for name, call in calls.items():
        try:
            call()
        except RuntimeError as error:
            print(name, "opened before this process was forked" in str(error), flush=True)
    print("host", float(ttnn.to_torch(host).max()), flush=True)

def fork(call):
    child = os.fork()
    if not child:
        signal.alarm(60)
        call()
        sys.exit(5)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

fork(lambda: None)
fork(use)
worker = multiprocessing.get_context("fork").Process(target=print, args=("worker",), kwargs={"flush": True})
worker.start()
worker.join(60)
print("worker", worker.exitcode, float(ttnn.to_torch(ttnn.neg(x)).max()), flush=True)
ttnn.close_mesh_device(device)
fork(lambda: None)
"""

SAID = """\
child 5
operation True
new program True
read True
to_device True
Tensor.to True
from_torch True
synchronize True
close True
capture True
zeros True
host 1.0
child 5
worker
worker 0 -1.0
child 5"""


def test_children(pytestconfig: pytest.Config) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(pytest_ttbringup.__file__).parents[1])}
    for name in [name for name in environment if name.startswith("TT_METAL_")]:
        del environment[name]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(settings_of(pytestconfig).cache_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    said = [line for line in run.stdout.splitlines() if "|" not in line]  # but for TT-Metal's log
    assert said == SAID.splitlines()
