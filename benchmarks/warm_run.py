"""A warm `pytest -k decode_mlp` for the tiny model, as a ratio to importing torch, transformers and ttnn.

Both are whole processes, run in turn; what an engineer waits for after each edit, beside what no tool can save. Both
may keep Python's compiled files, as is usual, even if the environment forbids it (PYTHONDONTWRITEBYTECODE).

    python benchmarks/warm_run.py [--rounds=N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "pytest -k decode_mlp": [sys.executable, "-m", "pytest", "-q", "-k", "decode_mlp"],
    "import torch, transformers, ttnn": [sys.executable, "-c", "import torch, transformers, ttnn"],
}


def main() -> None:
    """Run both in turn and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    environment = {**os.environ, "LOGURU_LEVEL": "ERROR"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
            if number:  # the first round fills caches
                times[name].append(time.perf_counter() - start)
    for name, measured in times.items():
        print(f"  {name:<34} {statistics.median(measured):6.2f} s   (least {min(measured):.2f})")
    ours, theirs = times.values()
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(f"  {'ratio':<34} {statistics.median(ratios):6.2f}     (of the least times {min(ours) / min(theirs):.2f})")


if __name__ == "__main__":
    main()
