"""What the benchmarks say of memory."""

from __future__ import annotations

import resource
from typing import Any


def print_memory(devices: list[dict[str, Any]]) -> None:
    """The greatest memory of this process, and of each device as `Target.end_test` has it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"host: {peak:.2f} GiB at most (the whole process, PyTorch and TT-NN included)")
    for device in devices:
        for kind in ("dram", "l1"):
            used = device[kind]
            total, share = used["peak"] * used["banks"] / 2**20, used["peak"] / used["size"]
            included = ", circular buffers included" if kind == "l1" else ""
            print(f"each chip: {kind.upper()} {total:.0f} MiB at most, {share:.1%} of {used['banks']} banks{included}")
