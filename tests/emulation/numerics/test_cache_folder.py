"""Where compiled loops are kept, each time in a process of its own: numba reads its settings at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
import torch
from pytest_ttbringup.emulation import arithmetic
from pytest_ttbringup.emulation.numerics.packing import to_bfloat16

arithmetic.choose("device", Path(sys.argv[1]))
assert to_bfloat16(torch.tensor([1 + 2.0**-8])).item() == 1 + 2.0**-7
kept = Path(os.environ["NUMBA_CACHE_DIR"])
assert list(kept.rglob("*.nbi"))
print(kept)
"""


def kept_in(cache_dir: Path) -> Path:
    """The folder that a process kept a compiled loop in."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cache_dir)],
        env={name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_in_the_cache_folder(tmp_path: Path) -> None:
    folder = kept_in(tmp_path / "cache")
    assert folder.parent == tmp_path / "cache" / "numba"
    assert list(folder.rglob("*.nbi"))


def test_a_cache_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = kept_in(tmp_path / "file" / "cache")  # below a file, which stops root, too
    assert tmp_path not in folder.parents
    assert not folder.exists()  # it was that process's own
