"""Operations on device tensors without elements, on many of which TT-NN's host code divides by zero or dereferences
null: with some arguments and in some layouts, so no list of operations says which.

So such a call is tried in a forked child first. Only calls with such a tensor pay for it.
TT-NN waits for threads when it compiles or sends a program, which a child does not have; so there it only records: it
computes shapes and makes programs, in which all known crashes are.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

from pytest_ttbringup.emulation.errors import EmulationError

_SECONDS = 10
"""How long a child may take before it counts as hanging; one takes milliseconds."""


def require_survival(name: str, shapes: list[list[int]], run: Callable[[], Any]) -> None:
    """Refuse a call that ends the process.

    Args:
        name: the operation's, for the error.
        shapes: of its device tensors, for the error.
        run: makes the call. What it raises does not matter here; the caller will see it.

    Raises:
        EmulationError: a child process that made the call was ended by a signal, or hung.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads exist; the child needs none of them
        child = os.fork()
    if not child:
        _try(run)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        how = signal.Signals(os.WTERMSIG(status))
        what = "hangs" if how == signal.SIGALRM else f"ends the process ({how.name})"
        raise EmulationError(
            f"{name} on a tensor without elements (shapes {', '.join(map(str, shapes))}): TT-NN's host code {what} on "
            "it. Leave such a tensor out of the call."
        )


def _try(run: Callable[[], Any]) -> None:
    """What the child does; it never returns."""
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        faulthandler.disable()  # pytest's would report the crash
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        _only_record()
        run()
    finally:
        os._exit(0)  # without a word to whatever the parent would do at exit


def _only_record() -> None:
    """Let TT-NN allocate and send nothing from here on, whatever is being captured."""
    import ttnn

    graph = ttnn._ttnn.graph
    while graph.is_graph_capture_active():
        graph.end_graph_capture()
    graph.begin_graph_capture(graph.RunMode.NO_DISPATCH)
