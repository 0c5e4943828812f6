"""Where the values of every TT-NN operation come from on the emulated device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from pytest_ttbringup.emulation.collectives import collective_function
from pytest_ttbringup.emulation.commands import Commands
from pytest_ttbringup.emulation.golden import original_of, semantics_of
from pytest_ttbringup.emulation.semantics import own_semantics
from pytest_ttbringup.emulation.transfers import Transfers
from pytest_ttbringup.emulation.values import DeviceMemory
from pytest_ttbringup.emulation.without_values import reason

if TYPE_CHECKING:
    from ttnn.decorators import FastOperation

OWN = "own semantics"
GOLDEN = "golden function"
TRANSFER = "transfer"
COMPOSITE = "composite"
CONTROL_PLANE = "control plane only"

KINDS = {
    OWN: "computed by pytest_ttbringup/emulation/semantics/",
    GOLDEN: "computed by the PyTorch function that TT-NN attaches to the operation",
    TRANSFER: "moves values between host and device, or makes or frees a buffer",
    COMPOSITE: "written in Python by TT-NN, out of the operations of this table",
    CONTROL_PLANE: "TT-NN checks the call, which then fails by name: nothing says what the operation computes",
}


class Entry(NamedTuple):
    """One operation."""

    name: str
    kind: str
    note: str


def census() -> list[Entry]:
    """Every operation that TT-NN registers, by name. Imports `ttnn`."""
    from ttnn.decorators import REGISTERED_OPERATIONS

    memory = DeviceMemory()
    transfers = Transfers(memory, Commands(memory)).operations()
    return sorted(_entry(operation, transfers.keys()) for operation in REGISTERED_OPERATIONS)


def counts(entries: list[Entry]) -> dict[str, int]:
    """How many operations there are of each kind, in the order of `KINDS`."""
    found = Counter(entry.kind for entry in entries)
    return {kind: found[kind] for kind in KINDS}


def as_text(entries: list[Entry]) -> str:
    """The table in plain lines, the counts first."""
    width = max(len(entry.name) for entry in entries)
    lines = [f"{count:4} {kind}" for kind, count in counts(entries).items()]
    lines += [f"{entry.name:{width}}  {entry.kind}{entry.note and f' ({entry.note})'}" for entry in entries]
    return "\n".join(lines) + "\n"


def as_markdown(entries: list[Entry], version: str) -> str:
    """The page `docs/operations.md`."""
    lines = [
        "# TT-NN operations on the emulated device",
        "",
        f"Written by `ttbringup doctor --ops --format=md` from ttnn {version}. Of its {len(entries)} operations:",
        "",
        "| operations | values | |",
        "|---:|---|---|",
        *(f"| {count} | {kind} | {KINDS[kind]} |" for kind, count in counts(entries).items()),
    ]
    for kind in KINDS:
        of_kind = [entry for entry in entries if entry.kind == kind]
        lines += ["", f"## {kind[0].upper()}{kind[1:]}", ""]
        lines += [f"- `{entry.name}`{entry.note and f': {entry.note}'}" for entry in of_kind]
    return "\n".join(lines) + "\n"


def _entry(operation: FastOperation, transfers: Container[str]) -> Entry:
    name = operation.python_fully_qualified_name
    if name in transfers:
        return Entry(name, TRANSFER, "")
    if name in own_semantics():
        return Entry(name, OWN, "")
    if collective_function(name) is not None:
        return Entry(name, OWN, "between chips")
    if not operation.is_cpp_operation:
        return Entry(name, COMPOSITE, "")
    if semantics_of(operation) is None:
        return Entry(name, CONTROL_PLANE, reason(name))
    same = original_of(operation)
    if same is None or semantics_of(same) is None:
        return Entry(name, GOLDEN, "")
    other = same.python_fully_qualified_name
    return Entry(name, OWN if other in own_semantics() else GOLDEN, f"as `{other}`")
