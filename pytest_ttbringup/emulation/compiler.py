"""A stand-in for Tenstorrent's kernel compiler.

TT-Metal compiles kernels just in time with `riscv-tt-elf-g++` and refuses to open a device without it. The emulated
target runs no kernel, so the stand-in writes a file of the right kind wherever the real compiler would: any bytes for
an object or a precompiled header, the program of `elf.py` for a link, and a dependency file when asked (TT-Metal
renames it afterwards, so it must exist and name a prerequisite). It is a shell script and not Python because TT-Metal
starts it several times per kernel, and a Python interpreter takes ten times as long to start.
"""

from __future__ import annotations

from pathlib import Path

from pytest_ttbringup.emulation.elf import empty_program
from pytest_ttbringup.files import write_atomically

COMPILER_PATH = Path("compiler/bin/riscv-tt-elf-g++")
"""Where TT-Metal looks for the compiler, below `<runtime root>/runtime/sfpi`."""

_SCRIPT = """\
#!/bin/sh
# Stand-in for Tenstorrent's kernel compiler, written by pytest-ttbringup: the emulated target runs no kernel.
link=yes output= dependencies= source=
while [ $# -gt 0 ]; do
  case $1 in
    --version) echo "riscv-tt-elf-g++ (pytest-ttbringup stand-in) 0"; exit 0 ;;
    -o) output=$2; shift ;;
    -MF) dependencies=$2; shift ;;
    -c) link=no ;;
    -x) [ "$2" = c++-header ] && link=no; shift ;;
    *.cc|*.cpp|*.h|*.hpp) source=$1 ;;
  esac
  shift
done
[ -n "$output" ] || { echo "compiler stand-in: no -o FILE given" >&2; exit 1; }
if [ $link = yes ]; then cp "${0%/compiler/bin/*}/program.elf" "$output"; else : > "$output"; fi
[ -z "$dependencies" ] || echo "$output: ${source:-$output.cc}" > "$dependencies"
"""


def install_compiler(sfpi: Path) -> None:
    """Put the stand-in below `sfpi` (the folder TT-Metal calls `runtime/sfpi`), once; safe to call from several
    processes.
    """
    compiler = sfpi / COMPILER_PATH
    (sfpi / "include").mkdir(parents=True, exist_ok=True)
    write_atomically(sfpi / "program.elf", empty_program())
    write_atomically(compiler, _SCRIPT.encode(), mode=0o755)
