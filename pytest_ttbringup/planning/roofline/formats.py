"""A `Roofline` as plain text, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from pytest_ttbringup.planning.roofline.bound import Bound, Group
from pytest_ttbringup.planning.roofline.report import (
    WHAT_THEY_ARE,
    Roofline,
    alternative_table,
    decode_line,
    heading,
    measured_lines,
    measured_table,
    operation_table,
    prefill_line,
)
from pytest_ttbringup.reporting.figures import aligned, piped


def as_text(it: Roofline) -> str:
    """Tables in columns."""
    return "\n".join(_page(it, title=str, table=aligned)) + "\n"


def as_markdown(it: Roofline) -> str:
    """Headings and tables in Markdown."""
    lines = _page(it, title="### {}".format, table=piped)
    return "\n".join(lines) + "\n"


def as_json(it: Roofline) -> str:
    """Everything, unrounded: seconds, bytes and operations."""
    page: dict[str, Any] = {
        "figures": WHAT_THEY_ARE,
        "model": it.model,
        "system": it.system,
        "precision": it.precision,
        "chips": it.chips,
        "copies": it.copies,
        "peaks": {
            "cores": it.peaks.cores,
            "clock_ghz": it.peaks.clock_ghz,
            "dram_gb_s": it.peaks.dram_gb_s,
            "flops": {name: it.peaks.flops(name) for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4")},
            "ethernet_gb_s": it.peaks.ethernet(it.chips) / 1e9 if it.chips > 1 else None,
        },
        "decode": {
            "users": it.step.users,
            "position": it.step.position,
            "tokens_per_second_per_user": it.decode.tokens_per_second_per_user,
            "tokens_per_second": it.decode.tokens_per_second_per_user * it.step.users * it.copies,
            **_bound(it.decode),
        },
        "prefill": {"tokens": it.prompt, **_bound(it.prefill)},
    }
    for name, alternatives in (("decode", it.decode_alternatives), ("prefill", it.prefill_alternatives)):
        page[name]["what_if"] = [
            {
                "matmuls": alternative.label,
                "count": alternative.count,
                **{
                    what: None if bound is None else bound.seconds
                    for what, bound in (
                        ("bfloat4_b", alternative.weights),
                        ("LoFi", alternative.fidelity),
                        ("both", alternative.both),
                    )
                },
            }
            for alternative in alternatives
        ]
    if it.measured is not None:
        name, comparison = it.measured
        page[name]["measured"] = [
            {
                "operation": measured.bound.operation.label,
                "seconds": measured.seconds,
                "bound": measured.bound.seconds,
                "below_the_bound": measured.below,
            }
            for measured in comparison.matched
        ]
        page[name]["not_in_profile"] = len(comparison.missing)
        page[name]["not_recorded"] = len(comparison.further)
    return json.dumps(page, indent=2) + "\n"


def _bound(bound: Bound) -> dict[str, Any]:
    return {
        "seconds": bound.seconds,
        "seconds_if_overlapped": bound.overlapped,
        "operations": [_group(group) for group in bound.groups()],
    }


def _group(group: Group) -> dict[str, Any]:
    members = group.operations
    return {
        "operation": group.label,
        "count": len(members),
        "dram_bytes": sum(it.work.dram for it in members),
        "flops": sum(it.work.flops for it in members),
        "ethernet_bytes": sum(it.work.ethernet for it in members),
        "limit": members[0].limit,
        "seconds": group.seconds,
    }


def _page(it: Roofline, *, title: Callable[[str], str], table: Callable[..., list[str]]) -> Iterator[str]:
    first, *rest = heading(it)
    yield title(first)
    yield ""
    yield from rest
    users = "1 user" if it.step.users == 1 else f"{it.step.users} users"
    yield from ("", title(f"Decode step, {users} at position {it.step.position}"), "")
    yield from table(operation_table(it.decode), figures=True)
    yield from ("", decode_line(it))
    yield from ("", title("What if: tokens/s/user at most, with another precision of these matmuls"), "")
    yield from table(alternative_table(it.decode_alternatives, as_time=False), figures=True)
    yield from ("", title(f"Prefill of {it.prompt} tokens of one user"), "")
    yield from table(operation_table(it.prefill), figures=True)
    yield from ("", prefill_line(it))
    yield from ("", title("What if: time to the first token at least, with another precision"), "")
    yield from table(alternative_table(it.prefill_alternatives, as_time=True), figures=True)
    if it.measured is not None:
        name, comparison = it.measured
        yield from ("", title(f"Measured beside bound, {name}"), "")
        yield from table(measured_table(comparison), figures=True)
        yield ""
        yield from measured_lines(comparison)
