"""Random sequences of TT-NN calls, legal and not, against a model in plain torch.

Run as a program in a process of its own, since it must be able to survive a crash:

    python fuzz.py CACHE_DIR SEED SECONDS CHIPS

It prints a line for each hundred steps and, when it ends well, `done STEPS REFUSALS CHECKED`, the last for values that
were read and compared. Whatever is no clean refusal (a `RuntimeError` or `TypeError`, which TT-NN and the emulated
device raise) or is a wrong value ends it with a traceback.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from commands import begin, beside, end, event, event_synchronize, execute, release, reopen, synchronize, wait
from exchange import exchange, send
from machine import Action, Machine
from misuse import create_on_closed, nonsense
from operations import binary, in_place, into, move, unary, view, warm
from transfers import create, deallocate, drop, read, read_later, write

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

ACTIONS: tuple[Action, ...] = (
    *(create,) * 4,
    *(read,) * 8,
    *(write,) * 3,
    read_later,
    beside,
    *(binary,) * 5,
    *(unary,) * 4,
    *(move,) * 2,
    *(view,) * 2,
    *(in_place, in_place, into, into),
    *(exchange,) * 3,
    *(send,) * 3,
    *(deallocate,) * 2,
    *(synchronize,) * 3,
    *(begin, end, end, execute, execute, execute),
    *(drop, event, wait, event_synchronize, release, nonsense, warm, reopen, create_on_closed),
)


def main(cache: str, seed: str, seconds: str, chips: str) -> None:
    target = EmulatedTarget(system_of("n150" if chips == "1" else "n300"), (1, int(chips)), Path(cache))
    target.prepare()
    target.install()
    import torch

    torch.set_num_threads(1)
    machine = Machine(target, int(seed), int(chips))
    warm(machine)
    machine.step(create)
    stop = time.monotonic() + float(seconds)
    steps = 0
    while time.monotonic() < stop:
        if not machine.pool:
            if machine.capture:
                machine.reopen()
            machine.step(create)
            continue
        machine.step(machine.random.choice(ACTIONS))
        steps += 1
        if steps % 100 == 0:
            print(steps, flush=True)  # noqa: T201
    machine.pool.clear()
    target.close_mesh(machine.mesh)
    print(f"done {steps} {machine.refusals} {machine.checked}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
