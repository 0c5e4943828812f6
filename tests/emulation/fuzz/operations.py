"""Operations that each chip computes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from machine import Machine
from model import Entry, wrapped
from transfers import SHAPES


def wrap(tensor: Any) -> Any:
    """Keep sums of sums within what bfloat16 holds exactly."""
    import ttnn

    return ttnn.clamp(tensor, -64.0, 64.0)


def operate(machine: Machine, call: Callable[[], Any], compute: Callable[[], Any], inputs: list[Entry]) -> None:
    """An operation with a new output."""
    with machine.failing(*inputs):
        tensor = call()
    assert all(machine.alive(entry) for entry in inputs), "an operation on a dead tensor"
    machine.add(tensor, None)
    cell = machine.pool[-1].cell

    def step() -> None:
        cell.values = compute()

    if machine.capture:
        machine.capture.own.add(cell)
    machine.run([entry.cell for entry in inputs], cell, step)


def binary(machine: Machine) -> None:
    import ttnn

    a, b = machine.pick(), machine.pick()
    x, y, queue = a.cell, b.cell, machine.queue()
    name = machine.random.choice(("add", "subtract", "minimum", "maximum"))
    function = {"add": lambda p, q: p + q, "subtract": lambda p, q: p - q}.get(name)

    def compute() -> Any:
        import torch

        other = y.values.reshape(x.values.shape)  # one may be a view of the other's kind
        return wrapped((function or getattr(torch, name))(x.values, other))

    def call() -> Any:
        return wrap(getattr(ttnn, name)(a.tensor, b.tensor, queue_id=queue))

    if a.tensor.shape == b.tensor.shape:
        operate(machine, call, compute, [a, b])
    elif len(a.tensor.shape) == len(b.tensor.shape):
        with machine.failing(a, b):
            getattr(ttnn, name)(a.tensor, b.tensor)
        raise AssertionError("shapes that don't match were accepted")


def unary(machine: Machine) -> None:
    import ttnn

    a = machine.pick()
    x = a.cell
    name = machine.random.choice(("neg", "relu", "abs", "clone"))

    def compute() -> Any:
        import torch

        return x.values.clone() if name == "clone" else getattr(torch, name)(x.values)

    operate(machine, lambda: getattr(ttnn, name)(a.tensor, queue_id=machine.queue()), compute, [a])


def move(machine: Machine) -> None:
    import ttnn

    a = machine.pick()
    x = a.cell
    config = machine.random.choice((ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG))
    if not machine.alive(a) or a.tensor.memory_config() == config:
        return
    operate(machine, lambda: ttnn.to_memory_config(a.tensor, config), lambda: x.values.clone(), [a])


def view(machine: Machine) -> None:
    import ttnn

    a = machine.pick()
    shape = tuple(a.tensor.shape)
    target = (1, *shape) if len(shape) < 4 else shape[1:]
    made = ttnn.reshape(a.tensor, target)
    assert machine.alive(a), "a view of a dead tensor"
    machine.pool.append(Entry(made, a.cell, a.generation))


def in_place(machine: Machine) -> None:
    import ttnn

    a, b = machine.pick(), machine.pick()
    if a.tensor.shape != b.tensor.shape:
        return
    x, y = a.cell, b.cell
    with machine.failing(a, b):
        ttnn.maximum(a.tensor, b.tensor, output_tensor=a.tensor, queue_id=machine.queue())
    assert machine.alive(a), "an operation on a dead tensor"
    assert machine.alive(b), "an operation on a dead tensor"

    def step() -> None:
        import torch

        x.values = torch.maximum(x.values.reshape(y.values.shape), y.values)

    machine.run([x, y], x, step)


def into(machine: Machine) -> None:
    """An operation with a given output tensor."""
    import ttnn

    a, b = machine.pick(), machine.pick()
    if a.tensor.shape != b.tensor.shape or a.cell is b.cell:
        return
    x, y = a.cell, b.cell
    with machine.failing(a, b):
        ttnn.add(a.tensor, 0.0, output_tensor=b.tensor, queue_id=machine.queue())
    assert machine.alive(a), "an operation on a dead tensor"
    assert machine.alive(b), "an operation on a dead tensor"

    def step() -> None:
        y.values = x.values.clone()

    machine.run([x], y, step)


def warm(machine: Machine) -> None:
    """Compile everything, so that captures have a chance."""
    import ttnn

    if machine.capture:
        return
    ttnn.synchronize_device(machine.mesh)
    for shape in SHAPES:
        host, _ = machine.host(shape)
        for config in (ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG):
            a = ttnn.to_device(host, machine.mesh, memory_config=config)
            for name in ("neg", "relu", "abs", "clone"):
                getattr(ttnn, name)(a)
            for name in ("add", "subtract", "minimum", "maximum"):
                wrap(getattr(ttnn, name)(a, a))
            ttnn.maximum(a, a, output_tensor=a)
            ttnn.add(a, 0.0, output_tensor=ttnn.clone(a))
            if machine.chips > 1:
                ttnn.all_reduce(a, cluster_axis=1)
                ttnn.reduce_scatter(ttnn.all_gather(a, dim=-1, cluster_axis=1), dim=-1, cluster_axis=1)
