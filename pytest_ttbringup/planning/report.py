"""The table of `ttbringup plan`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ttbringup.planning.footprint import BYTES_PER_VALUE, TRACE_REGION, Workload, cache_bytes_per_token
from pytest_ttbringup.planning.model_size import ModelSize
from pytest_ttbringup.planning.plan import GIB, Plan, gib
from pytest_ttbringup.reporting.figures import aligned

_COLUMNS = ("system", "chips", "fits", "copies", "chips/copy", "weights", "cache", "other", "left")


def as_text(size: ModelSize, work: Workload, plans: Sequence[Plan]) -> str:
    """What the model holds, a table with a row for each system (GiB of one chip; other: activations and traces), and a
    sentence for each.
    """
    table = aligned([_COLUMNS, *(_row(it) for it in plans)])
    said = aligned([(it.name, it.sentence) for it in plans])
    return "\n".join([*_model_lines(size, work, plans), "", *table, "", *said, ""])


def _model_lines(size: ModelSize, work: Workload, plans: Sequence[Plan]) -> Iterator[str]:
    formats = [
        f"{gib(size.matrices * width + (size.tables + size.vectors) * 2)} GiB in {name}"
        for name, width in BYTES_PER_VALUE.items()
        if name != "float32"
    ]
    token = cache_bytes_per_token(size, work, 1)
    billions = BYTES_PER_VALUE[work.weights] * 1e9 / GIB
    chips = sorted({it.system.dram_gib_per_chip for it in plans})
    room = ", ".join(f"{chip} GiB hold {chip / billions:.1f}" for chip in chips)
    heads = f"{size.heads} heads, {size.kv_heads} KV heads of {size.head_dim}"
    yield f"{size.name}: {size.parameters / 1e9:.2f} billion parameters, {size.layers} layers, {heads}"
    for note in size.notes:
        yield f"note      {note}"
    yield f"weights   {', '.join(formats)} (embedding tables, norms and biases in bfloat16)"
    yield (
        f"KV cache  {token / 1024:.1f} KiB per token in {work.cache}; {work.batch} users x {work.context} positions: "
        f"{gib(work.batch * work.context * token)} GiB"
    )
    yield f"chips     {room} billion parameters in {work.weights}, and nothing else"


def _row(it: Plan) -> tuple[str, ...]:
    return (
        it.name,
        f"{it.machines * it.system.chips} x {it.system.dram_gib_per_chip}",
        "yes" if it.fits else "no",
        str(it.copies) if it.fits else "-",
        str(it.tensor_parallel),
        gib(it.needed.weights),
        gib(it.needed.cache),
        gib(it.needed.activations + TRACE_REGION),
        gib(it.left),
    )
