"""What operations leave between a tensor's logical and its padded shape, where they promise anything."""

from __future__ import annotations

import math

from pytest_ttbringup.emulation.calls import Call

_VALUE = {
    "ttnn.fill_implicit_tile_padding": (1, "fill_value"),
    "ttnn.tilize_with_val_padding": (2, "pad_value"),
    "ttnn.tilize_with_zero_padding": None,
    "ttnn.reshape": (9, "pad_value"),
    "ttnn.to_layout": (5, "pad_value"),
}
"""Operations that fill the padding, and the position and name of the parameter that says with what; None for zeros."""

READING_PADDING = frozenset({"ttnn.untilize_with_unpadding"})
"""Operations whose output may hold some of their input's padding."""


def padding_left_by(call: Call) -> float:
    """The value an operation leaves in its output's padding; NaN where a kernel leaves whatever it computed there."""
    if call.name not in _VALUE:
        return math.nan
    parameter = _VALUE[call.name]
    value = 0.0 if parameter is None else call.argument(*parameter)
    if call.name == "ttnn.to_layout" and value is None:
        return 0.0  # it tilizes with zeros
    return math.nan if value is None else float(value)
