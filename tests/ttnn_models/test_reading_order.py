"""The order in which the package says its files are to be read: all of them, none before what it is made of."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import ttnn_models

FOLDER = Path(str(ttnn_models.__file__)).parent
FILES = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
ORDER = [name for name in re.findall(r"`(\w+)`", str(ttnn_models.__doc__)) if name in FILES]


def imported(name: str) -> set[str]:
    """The files of the package that this one imports when it runs, so not for its annotations alone."""
    body = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body
    return {str(it.module) for it in body if isinstance(it, ast.ImportFrom) and it.level == 1}


def test_every_file_is_named_once() -> None:
    assert sorted(ORDER) == sorted(FILES)


def test_what_a_file_is_made_of_comes_before_it() -> None:
    late = {name: imported(name) - set(ORDER[:place]) for place, name in enumerate(ORDER)}
    assert {name: needs for name, needs in late.items() if needs} == {}
    assert imported("model") >= {"decoder", "embedding"}
