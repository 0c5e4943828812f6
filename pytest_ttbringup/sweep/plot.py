"""Accuracy against speed, in the terminal and as SVG: better is right (faster) and up (nearer to the reference)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase
from typing import NamedTuple
from xml.sax.saxutils import escape

from pytest_ttbringup.sweep.table import Row, rounded

ACROSS = "tokens/s/user at most"
UP = "KL divergence from the reference, nats (logarithmic; less is up)"
_LEAST_KL = 1e-6
"""Drawn there whatever is less: a logarithm needs something."""


class Dot(NamedTuple):
    """A choice that was measured, at x and y from 0 to 1, y upwards."""

    row: Row
    x: float
    y: float


def dots_of(rows: Sequence[Row]) -> list[Dot]:
    """The measured choices, spread over the whole square."""
    points = [(row, row.point) for row in rows if row.point]
    across = _scale([point.speed for _, point in points])
    up = _scale([-math.log10(max(point.loss, _LEAST_KL)) for _, point in points])
    return [Dot(row, x, y) for (row, _), x, y in zip(points, across, up, strict=True)]


def as_text(rows: Sequence[Row], columns: int = 60, lines: int = 12) -> str:
    """A scatter of letters; upper case is on the Pareto front. Empty if nothing was measured."""
    dots = dots_of(rows)
    if not dots:
        return ""
    grid = [[" "] * columns for _ in range(lines)]
    legend = []
    for number, dot in enumerate(dots):
        letter = ascii_lowercase[number % len(ascii_lowercase)]
        letter = letter if dot.row.better else letter.upper()
        line, column = round((1 - dot.y) * (lines - 1)), round(dot.x * (columns - 1))
        legend.append(f"{letter} {dot.row.measured.name}")
        grid[line][column] = letter if grid[line][column] == " " else "*"
    losses, speeds = ([getattr(dot.row.point, what) for dot in dots] for what in ("loss", "speed"))
    labels = [f"{min(losses):.2g}", *[""] * (lines - 2), f"{max(losses):.2g}"]
    width = max(map(len, labels))
    body = [f"{label:>{width}} |{''.join(line).rstrip()}" for label, line in zip(labels, grid, strict=True)]
    slowest, fastest = rounded(min(speeds)), rounded(max(speeds))
    axis = f"{' ' * width} +{'-' * columns}"
    ends = f"{' ' * width}  {slowest}{ACROSS.center(columns - len(slowest) - len(fastest))}{fastest}"
    key = "  ".join(legend) + "  (upper case: on the Pareto front; *: several)"
    return "\n".join([UP, *body, axis, ends, key, ""])


def as_svg(rows: Sequence[Row], title: str) -> str:
    """The plot with names; the Pareto front is joined, choices with red tests are hollow."""
    width, height, left, top, right, bottom = 760, 440, 70, 50, 150, 60
    across, up = width - left - right, height - top - bottom

    def at(dot: Dot) -> tuple[float, float]:
        return left + dot.x * across, top + (1 - dot.y) * up

    dots = dots_of(rows)
    front = sorted((dot for dot in dots if dot.row.better is None), key=lambda dot: dot.x)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _words(left, 24, title, size=15),
        f'<path d="M{left} {top - 10}V{top + up + 10}H{left + across + 10}" fill="none" stroke="black"/>',
        _words(left + across / 2, height - 14, ACROSS, anchor="middle"),
        _words(left, top - 16, UP),
    ]
    if front:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, front))
        parts.append(f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-dasharray="4 3"/>')
    for dot in dots:
        (x, y), point = at(dot), dot.row.point
        assert point is not None
        color = "#777777" if dot.row.better else "#1f77b4"
        fill = "white" if dot.row.problems else color
        said = f"{dot.row.measured.name}: KL {point.loss:.4g}, {rounded(point.speed)} {ACROSS}"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{color}" stroke-width="2">'
            f"<title>{escape(said)}</title></circle>"
        )
        parts.append(_words(x + 9, y + 4, dot.row.measured.name))
    if dots:
        losses, speeds = ([getattr(dot.row.point, what) for dot in dots] for what in ("loss", "speed"))
        parts += [
            _words(left - 8, top + 4, f"{min(losses):.2g}", anchor="end"),
            _words(left - 8, top + up + 4, f"{max(losses):.2g}", anchor="end"),
            _words(left, top + up + 26, rounded(min(speeds)), anchor="middle"),
            _words(left + across, top + up + 26, rounded(max(speeds)), anchor="middle"),
        ]
    return "\n".join([*parts, "</svg>", ""])


def _scale(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [0.5 if high == low else (value - low) / (high - low) for value in values]


def _words(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
