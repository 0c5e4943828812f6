"""What a sweep compares: presets, and TOML files."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import PRESETS

FOLDER = "precisions"
"""Beside the ladder's tests: files that a sweep takes up unasked."""


@dataclass(frozen=True)
class Choice:
    """A precision by the name that reports give it, and as `--tt-precision` takes it."""

    name: str
    precision: str


def choices_of(given: Sequence[str], tests: Path) -> list[Choice]:
    """The choices that were given, separated by commas or apart, else the presets and the files beside the tests.

    Raises:
        BringupError: one is neither a preset nor a file, or two have one name.
    """
    items = [item.strip() for text in given for item in text.split(",")]
    if not items:
        items = [*PRESETS, *(str(path) for path in sorted((tests / FOLDER).glob("*.toml")))]
    choices = [_choice(item) for item in dict.fromkeys(items)]
    named: dict[str, str] = {}
    for choice in choices:
        if choice.name in named:
            raise BringupError(
                f"--choices: {named[choice.name]} and {choice.precision} would both be called {choice.name!r}. "
                "Rename one of them."
            )
        named[choice.name] = choice.precision
    return choices


def _choice(item: str) -> Choice:
    if item in PRESETS:
        return Choice(item, item)
    path = Path(item).expanduser().absolute()
    if path.suffix == ".toml" and path.is_file():
        return Choice(path.stem, str(path))
    if path.suffix == ".toml":
        raise BringupError(f"--choices={item}: there is no such file.")
    near = difflib.get_close_matches(item, PRESETS, n=1, cutoff=0.4)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise BringupError(f"--choices={item}: no such precision.{meant} Give {', '.join(PRESETS)}, or files NAME.toml.")


def check_files(choices: Sequence[Choice], tests: Path, model: str, layers: int, keep: Path | None) -> None:
    """Read every file of the choices, before anything is run, and keep a copy with every setting of each choice.

    Raises:
        BringupError: one is wrong, or names layers that the model does not have; or the ladder has no precisions.
    """
    if not (tests / "ttnn_models").is_dir():
        files = [choice.precision for choice in choices if choice.precision not in PRESETS]
        if files:
            raise BringupError(f"--choices={files[0]}: {tests} holds no ttnn_models, whose precision a file states.")
        return
    if str(tests) not in sys.path:
        sys.path.insert(0, str(tests))
    os.environ.setdefault("LOGURU_LEVEL", "WARNING")  # TT-NN prints its whole configuration at import
    file = importlib.import_module("ttnn_models.precision_file")
    for choice in choices:
        precision = file.precision_of(choice.precision)
        precision.check(layers, model)
        if keep is not None:
            file.write_precision(precision, keep / f"{choice.name}.toml")
