"""Importing heavy packages without the garbage collector looking through their modules again and again."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Switch the cyclic garbage collector off inside, and let it pass over what is alive at the end from then on.

    torch, transformers and ttnn are some million objects that stay until the process ends, and Python looks through all
    of them several times while they are imported, and twice more for pytest's own check at its end: together a fourth
    of a short run (benchmarks/warm_run.py). At the exit they are collected as ever, or nanobind would call all of
    ttnn leaked. A collector that was off already is left so.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    atexit.unregister(_leave_to_exit)  # once is enough
    atexit.register(_leave_to_exit)
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _leave_to_exit() -> None:
    """Let the interpreter collect everything once more as it ends, and but once: it leaves one out if told so."""
    gc.unfreeze()
    gc.disable()
