"""What became of foreign tests, and the table of it, for foreign_tests.py."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PASSED, SKIPPED, OURS = "passed", "skipped", "ours"

_OURS = r"emulated device|is not emulated|golden function|its semantics gave"
"""What the emulated device's own errors say, whatever else stands in them."""

_LIMITS = (
    ("time", r"more than \d+ s for the"),
    ("memory of the host", r"MemoryError|can't allocate memory|bad_alloc"),
    ("a larger system", r"wants a \d+x\d+ mesh"),
    ("support files", r"ModuleNotFoundError|ImportError|FileNotFoundError|No module named|couldn't connect to"),
    # weights, a fixture of a conftest.py further up in models/, and a link that the checkout holds as text
    ("support files", r"Please set HF_MODEL|fixture 'ensure_gc' not found|SyntaxError"),
    ("kernels or profiler", r"Tracing is not supported|tracy|ttnn\.generic_op|profiler"),
    ("another version of TT-NN", r"incompatible function arguments|TT_FATAL|TT_THROW|DID NOT RAISE|XPASS\(strict\)"),
    ("another version of TT-NN", r"(module 'ttnn\S*'|type object '\w+') has no attribute"),
    # 0.81.1 has int8, which the snapshot's tables lack, and another `tt-run`
    (
        "another version of TT-NN",
        r"KeyError: DataType\.INT8|argument 'sleep_secs'|mesh graph options|one of --rank-bin",
    ),
    # newer ones than the snapshot was written for refuse what the test itself does before TT-NN is called
    ("another version of PyTorch or pytest", r"not implemented for 'BComplex32'|must have the same dtype, but got"),
    ("another version of PyTorch or pytest", r'in "parametrize" the number of names'),
    # of a submesh that the test makes itself; TT-Metal's fixtures, too, set it on the mesh that they open
    ("the test itself", r"MeshDevice' object has no attribute 'cache_entries_counter'"),
)
"""Stated limits, and what the message of a test that hits one says; the first that fits counts, all else is ours."""


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Attributes:
        item: its node id.
        kind: `passed`, `skipped`, `ours`, or the stated limit that it hits.
        text: the message of the failure.
    """

    item: str
    kind: str
    text: str


def kind_of(outcome: str, text: str) -> str:
    """The kind of a recorded outcome (`passed`, `skipped`, `failed`, `error`, `ended`) with this message."""
    if outcome in (PASSED, SKIPPED):
        return outcome
    if re.search(_OURS, text):
        return OURS
    return next((limit for limit, pattern in _LIMITS if re.search(pattern, text)), OURS)


def outcomes_of(result: Path) -> list[Outcome]:
    """The outcomes recorded in a file of JSON lines; an item that failed twice, as in its teardown, counts once."""
    found: dict[str, Outcome] = {}
    for line in result.read_text().splitlines():
        record = json.loads(line)
        kind = kind_of(record["outcome"], record["text"])
        if record["id"] not in found or found[record["id"]].kind == PASSED:
            found[record["id"]] = Outcome(record["id"], kind, record["text"])
    return list(found.values())


def table(results: Mapping[str, tuple[str, Sequence[Outcome]]]) -> str:
    """A row for each file and one for all, the share that passed, and every failure with its message.

    Args:
        results: the system and the outcomes of each file.
    """
    lines = [
        "| file | system | items run | passed | ours | stated limit | skipped |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    total: Counter[str] = Counter()
    for file, (system, outcomes) in results.items():
        kinds = Counter(outcome.kind for outcome in outcomes)
        total.update(kinds)
        lines.append(f"| `{file.removeprefix('tests/')}` | {system} | {_cells(kinds)} |")
    lines.append(f"| all {len(results)} files | | {_cells(total)} |")
    counted = total[PASSED] + total[OURS]
    share = f"{100 * total[PASSED] / counted:.1f} %" if counted else "None"
    lines += ["", f"{share} of those that hit no stated limit passed ({total[PASSED]} of {counted}). " + _limits(total)]
    lines += ["", "| failed | items | as | message |", "|---|---:|---|---|"]
    return "\n".join(lines + _failures(results)) + "\n"


def _cells(kinds: Counter[str]) -> str:
    run = kinds.total() - kinds[SKIPPED]
    limit = run - kinds[PASSED] - kinds[OURS]
    return " | ".join(map(str, (run, kinds[PASSED], kinds[OURS], limit, kinds[SKIPPED])))


def _limits(total: Counter[str]) -> str:
    limits = {kind: count for kind, count in total.items() if kind not in (PASSED, SKIPPED, OURS)}
    listed = ", ".join(f"{limits[kind]} {kind}" for kind in sorted(limits, key=lambda kind: -limits[kind]))
    return f"Limits: {listed or 'none'}."


def _failures(results: Mapping[str, tuple[str, Sequence[Outcome]]]) -> list[str]:
    """A row for each function and kind, with the message of the first item."""
    texts: dict[tuple[bool, str, str], list[str]] = {}
    for file, (_, outcomes) in results.items():
        for outcome in outcomes:
            if outcome.kind not in (PASSED, SKIPPED):
                function = outcome.item.partition("[")[0].rpartition("::")[2]
                function = "the file" if function.endswith(".py") else function
                row = (outcome.kind != OURS, f"`{'/'.join(Path(file).parts[-2:])}::{function}`", outcome.kind)
                texts.setdefault(row, []).append(outcome.text)
    return [
        f"| {function} | {len(found)} | {kind} | {_brief(found[0])} |"
        for (_, function, kind), found in sorted(texts.items())
    ]


def _brief(text: str) -> str:
    """The line of a message that says most, without what would break the table or name a place of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    said = next((line for line in lines if re.match(r"E  |(\w+\.)*\w*(Error|Exception)\b", line)), lines[0])
    said = re.sub(r"\w*:?/\S+/", "…/", said.removeprefix("E ").strip())
    return "`" + re.sub(r"[|`]|0x[0-9a-f]+", "", said)[:100].strip() + "`"
