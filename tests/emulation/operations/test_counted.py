"""How many operations Hypothesis compares with PyTorch, each with a wrong result that must not pass: a count, no claim.

An operation counts if a test that Hypothesis drives, and that calls `check_with_control`, is parametrized with it or
calls it by name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import ttnn
from hypothesis import given, is_hypothesis_test
from hypothesis import strategies as st
from ttnn.decorators import FastOperation

from .harness import Case, check_with_control

TRANSFERS = {"from_torch", "to_torch", "to_layout", "to_memory_config", "from_device", "to_device"}
"""Called by nearly every test, to bring values there and back."""


def modules() -> list[ModuleType]:
    package = __package__ or ""
    files = Path(__file__).parent.glob("test_*.py")
    return [importlib.import_module(f".{file.stem}", package) for file in sorted(files) if file != Path(__file__)]


def driven_by_hypothesis(module: Any) -> Iterator[tuple[Callable[..., Any], str, list[Any]]]:
    """Each counted test of a module: the function, its source, the values it is parametrized with."""
    for function in vars(module).values():
        if not inspect.isfunction(function) or not is_hypothesis_test(function):
            continue
        source = textwrap.dedent(inspect.getsource(function.hypothesis.inner_test))  # type: ignore[attr-defined]
        if "check_with_control(" in source:
            marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
            yield function, source, [value for mark in marks for value in mark.args[1]]


def named(candidates: Iterable[str]) -> set[str]:
    """Those that are names of TT-NN's operations, under `ttnn`, without moves to and from a device."""
    return {name for name in candidates if name not in TRANSFERS and isinstance(operation(name), FastOperation)}


def operation(name: str) -> Any:
    found: Any = ttnn
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def called(source: str) -> Iterator[str]:
    """`a.b` of every call `ttnn.a.b(...)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (text := ast.unparse(node.func)).startswith("ttnn."):
            yield text.removeprefix("ttnn.")


def compared(module: Any) -> set[str]:
    names: set[str] = set()
    for _, source, parameters in driven_by_hypothesis(module):
        names |= named(str(it.name if isinstance(it, Case) else it) for it in parameters) | named(called(source))
    return names


def anywhere(module: Any) -> set[str]:
    """Those whose inputs also lie in row-major layout and in shards, where TT-NN takes them so, in two formats."""
    cases = [
        value
        for _, source, parameters in driven_by_hypothesis(module)
        if "settings_for(" in source
        for value in parameters
        if isinstance(value, Case)
    ]
    return named(case.name for case in cases)


def test_at_least_so_many_operations() -> None:
    operations = set().union(*map(compared, modules()))
    everywhere = set().union(*map(anywhere, modules()))
    assert len(operations) >= 300, sorted(operations)
    assert everywhere <= operations
    assert len(everywhere) >= 150, sorted(everywhere)


def test_what_does_not_count(device: ttnn.MeshDevice) -> None:
    @pytest.mark.parametrize("name", ["exp", "no_such_operation"])
    @given(number=st.integers())
    def counts(name: str, number: int) -> None:  # noqa: ARG001
        check_with_control(ttnn.neg(device), name)  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["sin"])
    def of_one_example(name: str) -> None:
        check_with_control(ttnn.abs(device), name)  # type: ignore[arg-type]

    @given(number=st.integers())
    def of_nothing(number: int) -> None:  # noqa: ARG001
        ttnn.cos(device)

    module = SimpleNamespace(counts=counts, of_one_example=of_one_example, of_nothing=of_nothing)
    assert compared(module) == {"exp", "neg"}
