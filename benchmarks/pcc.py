"""PCC of two 32x32x8192 float32 tensors against numpy.corrcoef with NaN masked out: time and peak memory.

Run `python benchmarks/pcc.py`. Each way runs on the same data in a process of its own; memory is what NumPy allocates
beyond the inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

SHAPE = (32, 32, 8192)
REPEATS = 7
MIB = 2**20


def blockwise(actual, expected):
    """The plugin's PCC."""
    from pytest_ttbringup.comparison import pcc

    return pcc(actual, expected)


def masked_corrcoef(actual, expected):
    """numpy.corrcoef of the elements that are not NaN in either tensor."""
    present = ~(np.isnan(actual) | np.isnan(expected))
    return float(np.corrcoef(actual[present], expected[present])[0, 1])


def masked_array_corrcoef(actual, expected):
    """numpy.ma.corrcoef of masked arrays."""
    flat = (np.ma.masked_invalid(tensor.reshape(-1)) for tensor in (actual, expected))
    return float(np.ma.corrcoef(*flat)[0, 1])


WAYS = {way.__name__: way for way in (blockwise, masked_corrcoef, masked_array_corrcoef)}


def measure(way):
    """Seconds (best of REPEATS), peak MiB beyond the inputs, and the PCC itself."""
    random = np.random.default_rng(213919)
    expected = random.standard_normal(SHAPE, dtype=np.float32)
    actual = expected + np.float32(0.01) * random.standard_normal(SHAPE, dtype=np.float32)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        value = way(actual, expected)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    way(actual, expected)
    return {"seconds": min(seconds), "mib": tracemalloc.get_traced_memory()[1] / MIB, "pcc": value}


def main():
    """Measure every way in its own process and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process and print it as JSON")
    way = parser.parse_args().way
    if way:
        print(json.dumps(measure(WAYS[way])))
        return
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    results = {}
    for name in WAYS:
        run = subprocess.run(
            [sys.executable, __file__, "--way", name], env=environment, check=True, capture_output=True, text=True
        )
        results[name] = json.loads(run.stdout)
    print(f"two {'x'.join(map(str, SHAPE))} float32 tensors, NumPy {np.__version__}, {os.cpu_count()} cores")
    ours = results["blockwise"]
    for name, found in results.items():
        print(f"{name:<22} {1000 * found['seconds']:8.1f} ms {found['mib']:8.1f} MiB   PCC {found['pcc']:.12f}")
    for name, found in results.items():
        if name != "blockwise":
            time_ratio, memory_ratio = ours["seconds"] / found["seconds"], ours["mib"] / found["mib"]
            print(f"blockwise / {name}: time {time_ratio:.3f}, memory {memory_ratio:.4f}")
    if max(abs(found["pcc"] - ours["pcc"]) for found in results.values()) > 1e-9:
        sys.exit("the ways disagree on the PCC")


if __name__ == "__main__":
    main()
