"""Replacing functions of TT-NN under every name it has given them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


def replace(changes: ExitStack, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Put `replacement` at one place; closing `changes` undoes it."""
    changes.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, replacement)


def replace_everywhere(changes: ExitStack, original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put `replacement` wherever a module of TT-NN holds `original`, under whatever name.

    TT-NN's Python modules copy functions of its compiled module (`ttnn.begin_trace_capture` is
    `ttnn._ttnn.operations.trace.begin_trace_capture`), and either may be called.
    """

    def call(*arguments: Any, **keywords: Any) -> Any:
        return replacement(*arguments, **keywords)

    functools.update_wrapper(call, original)
    for module_name, module in list(sys.modules.items()):
        if module is not None and (module_name == "ttnn" or module_name.startswith("ttnn.")):
            for name, value in list(vars(module).items()):
                if value is original:
                    replace(changes, module, name, call)
