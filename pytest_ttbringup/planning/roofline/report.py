"""What `ttbringup roofline` found out, and the lines of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_ttbringup.planning.roofline.bound import Bound, Group
from pytest_ttbringup.planning.roofline.peaks import Peaks
from pytest_ttbringup.planning.roofline.profile import Comparison
from pytest_ttbringup.planning.roofline.what_if import Alternative
from pytest_ttbringup.planning.roofline.work import Step

SHOWN = 10
"""Groups of operations that a table shows; the others are one line."""

Table = list[tuple[str, ...]]
"""Headings, and rows of as many cells."""

WHAT_THEY_ARE = (
    "Bounds from the operations TT-NN issued on a mock cluster, without weights, and from published peaks; "
    "no device ran."
)

OPERATIONS = ("operation", "count", "DRAM MB", "GFLOP", "limit", "us", "share")
ALTERNATIVES = ("matmuls", "count", "bfloat4_b weights", "LoFi", "both")
MEASURED = ("operation", "count", "measured us", "bound us", "of roofline", "")


@dataclass(frozen=True)
class Roofline:
    """The bounds of a model on a system.

    Attributes:
        model, system: their names.
        precision: as it was asked for.
        chips: that share a copy of the model.
        copies: side by side on the system.
        peaks: of a chip.
        step: users and position of the decode step.
        prompt: tokens of the prefill.
        decode, prefill: the bounds.
        decode_alternatives, prefill_alternatives: with other precisions.
        measured: the step that was profiled, "decode" or "prefill", and what was measured.
    """

    model: str
    system: str
    precision: str
    chips: int
    copies: int
    peaks: Peaks
    step: Step
    prompt: int
    decode: Bound
    prefill: Bound
    decode_alternatives: Sequence[Alternative]
    prefill_alternatives: Sequence[Alternative]
    measured: tuple[str, Comparison] | None = None


def heading(it: Roofline) -> Iterator[str]:
    """What the figures are of, and what they are."""
    where = it.system if it.chips == 1 else f"{it.chips} chips of {it.system} in tensor parallel"
    yield f"{it.model} on {where}, precision {it.precision}"
    yield WHAT_THEY_ARE
    rates = " / ".join(f"{it.peaks.flops(name) / 1e12:.0f}" for name in ("LoFi", "HiFi2", "HiFi4"))
    ethernet = f", {it.peaks.ethernet(it.chips) / 1e9:.0f} GB/s Ethernet" if it.chips > 1 else ""
    yield (
        f"Peaks of a chip: {it.peaks.dram_gb_s:.0f} GB/s DRAM, {rates} TFLOPS at LoFi / HiFi2 / HiFi4 "
        f"({it.peaks.cores} cores, {it.peaks.clock_ghz:g} GHz){ethernet}"
    )


def decode_line(it: Roofline) -> str:
    """The bound of a decode step, in tokens."""
    per_user = it.decode.tokens_per_second_per_user
    copies = f" each, {it.copies} copies {per_user * it.step.users * it.copies:.0f}" if it.copies > 1 else ""
    return (
        f"at least {_ms(it.decode.seconds)} a step, so at most {per_user:.1f} tokens/s/user and "
        f"{per_user * it.step.users:.0f} tokens/s{copies}; {_ms(it.decode.overlapped)} if all operations "
        "overlapped"
    )


def prefill_line(it: Roofline) -> str:
    """The bound of the time to the first token."""
    return (
        f"time to first token at least {_ms(it.prefill.seconds)}; {_ms(it.prefill.overlapped)} if all "
        "operations overlapped"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def operation_table(bound: Bound) -> Table:
    """The groups of operations that take longest, and all others in one row."""
    groups = bound.groups()
    rows = [OPERATIONS, *(_row(group, bound) for group in groups[:SHOWN])]
    if len(groups) > SHOWN:
        rest = Group("all others", tuple(it for group in groups[SHOWN:] for it in group.operations))
        rows.append(_row(rest, bound, limit=""))
    return rows


def _row(group: Group, bound: Bound, limit: str | None = None) -> tuple[str, ...]:
    members = group.operations
    return (
        group.label,
        str(len(members)),
        f"{sum(it.work.dram for it in members) / 1e6:.2f}",
        f"{sum(it.work.flops for it in members) / 1e9:.2f}",
        members[0].limit if limit is None else limit,
        f"{group.seconds * 1e6:.1f}",
        f"{group.seconds / bound.seconds:.1%}",
    )


def alternative_table(found: Sequence[Alternative], *, as_time: bool) -> Table:
    """What each alternative makes of the whole step: tokens/s/user of a decode step, or milliseconds."""

    def cell(bound: Bound | None) -> str:
        if bound is None:
            return "-"
        return _ms(bound.seconds) if as_time else f"{bound.tokens_per_second_per_user:.1f}"

    rows = ((it.label, str(it.count), cell(it.weights), cell(it.fidelity), cell(it.both)) for it in found)
    return [ALTERNATIVES, *rows]


def measured_table(comparison: Comparison) -> Table:
    """Measured beside bound, the groups that took longest first."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for it in comparison.matched:
        groups.setdefault(it.bound.operation.label, []).append((it.seconds, it.bound.seconds))
    rows: Table = [MEASURED]
    for label, times in sorted(groups.items(), key=lambda entry: -sum(took for took, _ in entry[1])):
        took, bound = (sum(column) for column in zip(*times, strict=True))
        below = sum(one < other for one, other in times)
        flag = f"{below} below the bound: check" if below else ""
        rows.append((label, str(len(times)), f"{took * 1e6:.1f}", f"{bound * 1e6:.1f}", f"{bound / took:.0%}", flag))
    return rows


def measured_lines(comparison: Comparison) -> Iterator[str]:
    """The sums, and what was found on one side only."""
    took = sum(it.seconds for it in comparison.matched)
    bound = sum(it.bound.seconds for it in comparison.matched)
    yield (
        f"kernels took {_ms(took)} where the bound is {_ms(bound)} ({bound / took:.0%} of the "
        f"roofline), {len(comparison.matched)} operations; time between operations is not counted"
    )
    if comparison.missing:
        names = sorted({it.operation.kind for it in comparison.missing})
        yield f"{len(comparison.missing)} recorded operations are not in the profile: {', '.join(names)}"
    if comparison.further:
        lines = ", ".join(f"{it.kind} (line {it.line})" for it in comparison.further[:5])
        more = f" and {len(comparison.further) - 5} more" if len(comparison.further) > 5 else ""
        yield f"{len(comparison.further)} profiled operations were not recorded: {lines}{more}"
