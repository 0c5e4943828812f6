"""What the device's arithmetic costs: a decode step of 32 users, `device` against `exact`, for each way to accumulate.

Both run in this process, in turn, on the same model: SmolLM2-135M (or the model named), all layers and the LM head,
every user at position 128 of its KV cache. `BF16` and `FP32` are the destination registers of every operation;
`default` is the model's own precision.

    python benchmarks/numerics.py [--tt-model=NAME] [--rounds=N] [--threads=N] [--only=BF16]
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from _decoding import POSITION, USERS, Function, emulated_step, opened, parser_of, print_ratio


def main() -> None:
    """Measure a step under both arithmetics in turn and print their ratio."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--only", choices=("BF16", "FP32", "default"))
    arguments = parser.parse_args()
    with opened(arguments) as (_, mesh_device):
        for name in (arguments.only,) if arguments.only else ("FP32", "BF16", "default"):
            _measure(name, arguments, mesh_device)


def _precision(name: str) -> Any:
    from ttnn_models.precision import DEFAULT_PRECISION, MathConfig

    if name == "default":
        return DEFAULT_PRECISION
    maths = {
        field.name: dataclasses.replace(math, fp32_accumulation=name == "FP32")
        for field in dataclasses.fields(DEFAULT_PRECISION)
        if isinstance(math := getattr(DEFAULT_PRECISION, field.name), MathConfig)
    }
    return dataclasses.replace(DEFAULT_PRECISION, **maths)


def _measure(name: str, arguments: argparse.Namespace, mesh_device: Any) -> None:
    from pytest_ttbringup.emulation.arithmetic import arithmetic, choose, restore
    from pytest_ttbringup.reference.loading import load_model

    model = load_model(arguments.tt_model, cache_dir=arguments.cache)
    step = emulated_step(model, arguments, mesh_device, precision=_precision(name))

    def computing(numerics: str) -> Function:
        choose(numerics, arguments.cache)  # not timed, since it reads files
        chosen = arithmetic()

        def run() -> None:
            restore(chosen)
            step()

        return run

    print(f"{model.name}, {name} destinations, {USERS} users at position {POSITION}, {arguments.threads} threads")
    print_ratio({it: computing(it) for it in ("device", "exact")}, arguments.rounds, warm_up=1)


if __name__ == "__main__":
    main()
