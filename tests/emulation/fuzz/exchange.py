"""Operations whose result on one chip depends on what other chips hold; none on a single chip."""

from __future__ import annotations

from machine import Machine
from model import UNKNOWN, wrapped
from operations import operate, wrap


def exchange(machine: Machine) -> None:
    """Sum over the chips; or gather and cut again, which doubles what each chip holds."""
    import ttnn

    if machine.chips == 1:
        return
    a = machine.pick()
    x = a.cell
    if machine.random.random() < 0.5:
        operate(
            machine,
            lambda: wrap(ttnn.all_reduce(a.tensor, cluster_axis=1)),
            lambda: wrapped(x.values.sum(dim=0, keepdim=True).expand_as(x.values).clone()),
            [a],
        )
    else:
        operate(
            machine,
            lambda: wrap(
                ttnn.reduce_scatter(ttnn.all_gather(a.tensor, dim=-1, cluster_axis=1), dim=-1, cluster_axis=1)
            ),
            lambda: wrapped(x.values * machine.chips),
            [a],
        )


def send(machine: Machine) -> None:
    import ttnn

    if machine.chips == 1:
        return
    a = machine.pick()
    others = [entry for entry in machine.pool if entry.tensor.shape == a.tensor.shape and entry.cell is not a.cell]
    if not others:
        return
    b = machine.random.choice(others)
    x, y, sender = a.cell, b.cell, machine.random.randrange(2)
    with machine.failing(a, b):
        ttnn.point_to_point(
            a.tensor,
            ttnn.MeshCoordinate(0, sender),
            ttnn.MeshCoordinate(0, 1 - sender),
            output_tensor=b.tensor,
        )
    assert machine.alive(a), "a send of a dead tensor"
    assert machine.alive(b), "a send into a dead tensor"

    def step() -> None:
        if y.values is None:  # known on the receiver alone
            y.values = UNKNOWN
            return
        y.values = y.values.clone()
        y.values[1 - sender] = x.values[sender].reshape(y.values.shape[1:])

    machine.run([x, y], y, step)
