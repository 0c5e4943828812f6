"""Precisions in TOML files.

    preset = "performance"              # what the rest changes; "default" where it is left out
    lm_head_weight = "bfloat16"
    gate_up_math = { fidelity = "HiFi2" }   # the other attributes stay those of the preset

    [[layers]]
    layers = [0, "4-7", "last"]
    gate_up_weight = "bfloat8_b"

The keys are the fields of `PrecisionConfig`, and for math those of `MathConfig`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import ttnn

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.files import write_atomically

from .model_precision import HOW_TO_CHOOSE, LayerOverride, ModelPrecision, changed
from .precision import FORMATS, MATH, OF_THE_MODEL, SETTINGS, MathConfig, format_name, legal_formats
from .presets import PRESETS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FIDELITIES: Mapping[str, ttnn.MathFidelity] = {
    name: getattr(ttnn.MathFidelity, name) for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4")
}
MATH_ATTRIBUTES = tuple(it.name for it in fields(MathConfig))
_SHORT = {"bfp4": "bfloat4_b", "bfp4_b": "bfloat4_b", "bfp8": "bfloat8_b", "bfp8_b": "bfloat8_b", "bf16": "bfloat16"}
"""What people also call formats, for suggestions."""


def precision_of(name: str) -> ModelPrecision:
    """The preset of this name, or what the file of this path says.

    Raises:
        BringupError: it is neither, or the file is wrong; the message names the line and the key.
    """
    if name in PRESETS:
        return ModelPrecision(PRESETS[name])
    if not name.endswith(".toml"):
        raise BringupError(f"{name!r}: {_choose('preset', name, tuple(PRESETS))} Or give a file, NAME.toml.")
    return read_precision(Path(name))


def read_precision(path: Path) -> ModelPrecision:
    """What a TOML file says.

    Raises:
        BringupError: it can't be read or is wrong; the message names the line and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise BringupError(f"{path}: can't be read: {reason}. docs/precision.md says what is in one.") from error
    return parse_precision(text, str(path))


def parse_precision(text: str, source: str) -> ModelPrecision:
    """What TOML text says; `source` is what errors call it.

    Raises:
        BringupError: as `read_precision`.
    """
    return _Parser(text, source).parse()


def write_precision(precision: ModelPrecision, path: Path) -> None:
    """Write what `read_precision` reads back.

    Raises:
        OSError: the file can't be written.
    """
    write_atomically(path, as_toml(precision).encode())


def as_toml(precision: ModelPrecision) -> str:
    """TOML with every setting of the model, whatever a preset may mean one day, and the layers' overrides."""
    lines = [f"{name} = {_literal(name, getattr(precision.model, name))}" for name in SETTINGS]
    for override in precision.overrides:
        chosen = ", ".join(str(it) if isinstance(it, int) else f'"{it}"' for it in override.layers)
        lines += ["", "[[layers]]", f"layers = [{chosen}]"]
        lines += [f"{name} = {_literal(name, override.changes[name])}" for name in SETTINGS if name in override.changes]
    return "\n".join([*lines, ""])


def _literal(name: str, value: Any) -> str:
    if name not in MATH:
        return f'"{format_name(value)}"'
    attributes = value if isinstance(value, Mapping) else {it: getattr(value, it) for it in MATH_ATTRIBUTES}
    written = [
        f'{key} = "{it.name}"' if key == "fidelity" else f"{key} = {str(it).lower()}" for key, it in attributes.items()
    ]
    return f"{{ {', '.join(written)} }}"


class _Parser:
    """One file, and where its keys are."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.lines = text.splitlines()
        try:
            self.data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BringupError(f"{source}: {self._syntax(error)}") from error

    def parse(self) -> ModelPrecision:
        top = dict(self.data)
        preset = top.pop("preset", "default")
        if preset not in tuple(PRESETS):  # a tuple takes what TOML may hold in its place, a dictionary no list
            self._refuse(("preset",), preset, _choose("preset", str(preset), tuple(PRESETS)))
        layers = top.pop("layers", [])
        if not isinstance(layers, list) or not all(isinstance(it, dict) for it in layers):
            self._refuse(("layers",), layers, "settings of some layers stand below a line [[layers]] of their own.")
        model = changed(PRESETS[preset], self._changes(top, ()))
        return ModelPrecision(model, tuple(self._override(it, ("layers", number)) for number, it in enumerate(layers)))

    def _override(self, table: Mapping[str, Any], path: tuple[str | int, ...]) -> LayerOverride:
        settings = dict(table)
        chosen = settings.pop("layers", None)
        if not isinstance(chosen, list):
            problem = "a [[layers]] table needs a list of them." if chosen is None else "not a list."
            self._refuse((*path, "layers"), chosen, f'{problem} {HOW_TO_CHOOSE} For instance layers = [0, "last"].')
        changes = self._changes(settings, path)
        for name in OF_THE_MODEL.intersection(changes):
            self._refuse((*path, name), None, "belongs to the whole model, so no layer can have its own.")
        return LayerOverride(tuple(chosen), changes, place=f"{self.source}: line {self._line((*path, 'layers'))}: ")

    def _changes(self, table: Mapping[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
        return {
            name: (self._math if name in MATH else self._format)(it, (*path, name))
            for name, it in table.items()
            if self._known(name, (*SETTINGS, *(("layers",) if path else ("preset", "[[layers]]"))), (*path, name))
        }

    def _known(self, name: str, legal: Sequence[str], path: tuple[str | int, ...]) -> bool:
        if name not in legal:
            self._refuse(path, None, _choose("setting", name, legal))
        return True

    def _format(self, value: Any, path: tuple[str | int, ...]) -> ttnn.DataType:
        legal = legal_formats(str(path[-1]))
        if value not in legal:
            self._refuse(path, value, _choose("format TT-NN takes there", str(value), legal))
        return FORMATS[value]

    def _math(self, value: Any, path: tuple[str | int, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(path, value, 'how an operation computes is a table, as { fidelity = "HiFi2" }.')
        return {
            key: self._attribute(it, (*path, key))
            for key, it in value.items()
            if self._known(key, MATH_ATTRIBUTES, (*path, key))
        }

    def _attribute(self, value: Any, path: tuple[str | int, ...]) -> Any:
        if path[-1] == "fidelity":
            if value not in tuple(FIDELITIES):
                self._refuse(path, value, _choose("math fidelity", str(value), tuple(FIDELITIES)))
            return FIDELITIES[value]
        if not isinstance(value, bool):
            self._refuse(path, value, "give true or false.")
        return value

    def _refuse(self, path: tuple[str | int, ...], value: Any, problem: str) -> NoReturn:
        key = ".".join(str(it) for it in path if isinstance(it, str)).removeprefix("layers.")
        shown = f"{key} = {value!r}" if value is not None else key
        raise BringupError(f"{self.source}: line {self._line(path)}: {shown}: {problem}")

    def _line(self, path: tuple[str | int, ...]) -> int:
        """The line, from 1, on which the statement with this key starts; where there is none, that of its table."""
        for length in range(len(path), 0, -1):
            for start, data in self._statements():
                if _holds(data, path[:length]):
                    return start
        return 1

    def _statements(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Where each statement starts, and what the file says up to its end: tomllib tells no lines of keys."""
        start = 1
        for end in range(1, len(self.lines) + 1):
            try:
                data = tomllib.loads("\n".join(self.lines[:end]))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a statement of several lines
            yield start, data
            start = end + 1

    def _syntax(self, error: ValueError) -> str:
        """What tomllib says, and the line it means: its own, or where the statement starts that never ended."""
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        last = max((start for start, _ in self._statements()), default=0)
        number = int(found[1]) if found else min(last + 1, len(self.lines))
        line = self.lines[number - 1].strip()
        return f"line {number}: {message} in `{line}`. A line is NAME = VALUE; names of formats stand in quotes."


def _holds(data: Any, path: Sequence[str | int]) -> bool:
    for key in path:
        if isinstance(key, int):
            if not isinstance(data, list) or len(data) <= key:
                return False
        elif not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _choose(what: str, wrong: str, legal: Sequence[str]) -> str:
    near = [it for it in [_SHORT.get(wrong.lower(), "")] if it in legal]
    cutoff = 0.4 if len(legal) < 8 else 0.6  # among many names one is always a little like what was written
    near = near or difflib.get_close_matches(wrong, legal, n=1, cutoff=cutoff)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"no such {what}.{meant} Choose one of: {', '.join(legal)}."
