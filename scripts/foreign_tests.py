"""TT-NN's own tests, drawn by seed from a checkout of tt-metal, run on the emulated device, and a table of the results.

    python scripts/foreign_tests.py CHECKOUT --seed=3 --files=40 --items=5 --results=FOLDER \
        --tried=docs/foreign_tests_tried.txt --page=docs/foreign_tests.md --section=hold-out

Nothing is downloaded, and nothing in the checkout is changed. Each file runs in a process of its own; `--results` keeps
one file of JSON lines for each, and what is there already is not run again, so that a run may be interrupted. With
`--page`, the lines between `<!-- SECTION -->` and `<!-- end of SECTION -->` are replaced by the table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from _foreign_outcomes import PASSED, Outcome, outcomes_of, table

SHARES = (
    ("tests/ttnn/unit_tests/operations/*", 3),
    ("tests/ttnn/nightly/unit_tests/operations/*", 8),
    ("tests/ttnn/unit_tests/base_functionality/*", 8),
    ("tests/ttnn/unit_tests/tensor/*", 3),
    ("tests/ttnn/docs_examples/*", 3),
    ("tests/ttnn/distributed/*", 2),
    ("tests/nightly/t3000/*ccl/*", 4),
    ("tests/nightly/tg/ccl/*", 1),
)
"""Folders the files are drawn from, and how many of each 32 come from there."""

LEFT_OUT = ("*/debug/*", "*perf*", "*/exabox/*", "*stress*", "*_prefetcher*", "*profiler*", "*benchmark*")
"""Not drawn: tests of speed, of a profiler, of several hosts, or of hanging a device."""

SYSTEMS = (
    ("*/blackhole_CI/galaxy/*", "bh-galaxy"),
    ("*/blackhole_CI/*", "p150x8"),
    ("tests/nightly/tg/*", "galaxy"),
    ("tests/nightly/t3000/*", "t3000"),
    ("*/ccl/*", "t3000"),
    ("*/distributed/*", "t3000"),
    ("*multi_*", "t3000"),
    ("*", "n150"),
)
"""The system a file runs on: the first pattern that fits its path."""


def main() -> None:
    """Choose, run what has no results yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="tt-metal's repository, near the installed version of ttnn")
    parser.add_argument("--results", type=Path, required=True, help="a folder, made if there is none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--items", type=int, default=5, help="parametrizations of each test function")
    parser.add_argument("--tried", type=Path, help="paths not to draw, one a line")
    parser.add_argument("--only", action="append", help="run this path of the checkout instead of a sample; repeatable")
    parser.add_argument("--item-seconds", type=int, default=30)
    parser.add_argument("--file-seconds", type=int, default=180)
    parser.add_argument("--gigabytes", type=int, default=10, help="of the host's memory, for one file")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further file after so long")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--section", default="hold-out")
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    if not (checkout / "tests" / "ttnn").is_dir():
        parser.error(f"{checkout} has no tests/ttnn: give the root of a checkout of tt-metal")
    tried = frozenset(arguments.tried.read_text().split()) if arguments.tried else frozenset()
    files = arguments.only or choose(checkout, arguments.files, arguments.seed, tried)
    arguments.results.mkdir(parents=True, exist_ok=True)
    results = {file: arguments.results.resolve() / f"{file.replace('/', '+')}.jsonl" for file in files}
    end = time.monotonic() + 60 * arguments.minutes
    for number, (file, result) in enumerate(results.items(), 1):
        if not result.exists() and time.monotonic() < end:
            run(checkout, file, result, Limits.of(arguments))
        if result.exists():
            print(f"[{number}/{len(results)}] {file}: {_counts(outcomes_of(result))}", flush=True)
    missing = [file for file, result in results.items() if not result.exists()]
    if missing:
        raise SystemExit(f"{len(missing)} files have not been run yet: run the same command again")
    text = table({file: (system_of_file(file), outcomes_of(result)) for file, result in results.items()})
    if arguments.page:
        write_section(arguments.page, arguments.section, text)
    else:
        print(text)


def choose(checkout: Path, count: int, seed: int, tried: frozenset[str]) -> list[str]:
    """The sample: of each folder of `SHARES` its share of `count` (at least one), drawn with `seed`, sorted.

    Args:
        checkout: tt-metal's repository.
        count: files, about; a folder with fewer than its share gives all it has.
        seed: of the draw.
        tried: paths that are not drawn.
    """
    paths = (path.relative_to(checkout).as_posix() for path in (checkout / "tests").rglob("test_*.py"))
    known = sorted(path for path in paths if path not in tried and not any(fnmatch(path, it) for it in LEFT_OUT))
    chosen: list[str] = []
    for pattern, share in SHARES:
        among = [path for path in known if fnmatch(path, pattern)]
        wanted = max(1, round(count * share / sum(share for _, share in SHARES)))
        chosen += random.Random(f"{seed} {pattern}").sample(among, min(wanted, len(among)))
    return sorted(chosen)


def system_of_file(file: str) -> str:
    """The system that a file of the checkout runs on."""
    return next(system for pattern, system in SYSTEMS if fnmatch(file, pattern))


class Limits(NamedTuple):
    """How much of a file is run: items of a function, seconds of an item, seconds and gigabytes of the file."""

    items: int
    item_seconds: int
    file_seconds: int
    gigabytes: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Limits:
        """Those given on the command line."""
        return cls(**{name: getattr(arguments, name) for name in cls._fields})


def run(checkout: Path, file: str, result: Path, limits: Limits) -> None:
    """Run one file as it is and write an outcome a line to `result`; a crash or a file's time limit is one, too."""
    partial = result.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.with_suffix(".ini").write_text("[pytest]\n")  # that of tt-metal asks for plugins and names its own markers
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(partial.with_suffix(".ini")), f"--rootdir={checkout}"]
    command += ["-p", "_foreign_items", "-p", "no:cacheprovider", "--import-mode=importlib"]
    # tt-metal's conftest.py and tests/ttnn/conftest.py need a laboratory and another version; the file's folder's stays
    command += [f"--confcutdir={checkout / Path(file).parent}", "--tt-target=emulated"]
    command += [f"--tt-system={system_of_file(file)}", f"--foreign-out={partial}"]
    command += [f"--foreign-items={limits.items}", f"--foreign-seconds={limits.item_seconds}", file]
    paths = [str(Path(__file__).resolve().parent), str(checkout), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "TT_LOGGER_LEVEL": "FATAL"}
    most = limits.gigabytes << 30
    with partial.with_suffix(".log").open("w") as log:
        try:
            done = subprocess.run(
                command,
                cwd=checkout,
                env=environment,
                stdout=log,
                stderr=log,
                timeout=limits.file_seconds,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
            )
            ended = "" if done.returncode in (0, 1, 2, 5) else f"the process ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"more than {limits.file_seconds} s for the file"
    with partial.open("a") as lines:
        if ended:
            lines.write(json.dumps({"id": file, "outcome": "ended", "text": ended}) + "\n")
    partial.rename(result)


def write_section(page: Path, section: str, text: str) -> None:
    """Replace what stands between the two marks of `section` in `page`.

    Raises:
        SystemExit: the page has no such marks.
    """
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no lines {begin.strip()} and {end}")
    written = page.with_suffix(".new")
    written.write_text(before + begin + "\n" + text + "\n" + end + after)
    written.rename(page)


def _counts(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.kind for outcome in outcomes)
    return f"{counts[PASSED]} of {len(outcomes)} passed" + "".join(
        f", {count} {kind}" for kind, count in sorted(counts.items()) if kind != PASSED
    )


if __name__ == "__main__":
    main()
