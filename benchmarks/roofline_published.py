"""The speeds that Tenstorrent published for Llama models beside their bounds (`planning.roofline.published`).

Records each model once on a mesh of a mock T3000, in bfloat8_b, without weights: TT-NN's host side sees the same 8x8
cores of a Wormhole chip on every system here. Several chips keep columns of the residual, as in TT-NN's own LLM code.
Prints a line for each published speed, with its share of the bound; exits with 1 if one is above its bound.

    python benchmarks/roofline_published.py [--cache=DIR] [--operations=FILE]

`--operations=FILE` writes what was recorded, as JSON, for the tests.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.model_steps import ModelSteps, mock_cluster, record_model
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.published import POSITION, PUBLISHED, with_mlp_bfp4
from pytest_ttbringup.planning.roofline.work import Step
from pytest_ttbringup.planning.sources import config_of
from pytest_ttbringup.targets.systems import system_of


def main() -> None:
    """Record, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    parser.add_argument("--operations", type=Path)
    arguments = parser.parse_args()
    recorded: dict[tuple[str, int], ModelSteps] = {}
    target = mock_cluster(system_of("t3000"), arguments.cache)
    for it in PUBLISHED:
        if (it.model, it.chips) not in recorded:
            name, config = config_of(it.model)
            recorded[it.model, it.chips] = record_model(
                name, config, target, chips=it.chips, residual="fractured", position=POSITION, prompt=POSITION
            )
    if arguments.operations:
        steps = {f"{model} {chips}": asdict(steps) for (model, chips), steps in recorded.items()}
        arguments.operations.write_text(json.dumps(steps))
    print(
        "| model | system | users | MLP | tokens/s/user | bound | share | first token | bound | share | published in |"
    )
    print("|---|---|---:|---|---:|---:|---:|---:|---:|---:|---|")
    beaten = 0
    for it in PUBLISHED:
        steps = recorded[it.model, it.chips]
        intermediate = config_of(it.model)[1].intermediate_size // it.chips
        parts = [
            list(with_mlp_bfp4(ops, intermediate)) if it.mlp_bfp4 else ops for ops in (steps.decode, steps.prefill)
        ]
        peaks = peaks_of(system_of(it.system))
        decode, prefill = (Bound.of(part, peaks, Step(it.users, POSITION)) for part in parts)
        speed = decode.tokens_per_second_per_user
        first = ("-", "-", "-")
        if it.first_token_ms is not None:
            least = prefill.seconds * 1e3
            first = (f"{it.first_token_ms:g} ms", f"{least:.1f} ms", f"{least / it.first_token_ms:.0%}")
            beaten += it.first_token_ms < least
        beaten += it.speed > speed
        chips = f" ({it.chips} chips)" if it.chips > 1 else ""
        mlp = "bfp4" if it.mlp_bfp4 else "bfp8"
        cells = (
            it.model,
            it.system + chips,
            str(it.users),
            mlp,
            str(it.speed),
            f"{speed:.1f}",
            f"{it.speed / speed:.0%}",
        )
        print(f"| {' | '.join((*cells, *first, it.source))} |")
    if beaten:
        raise SystemExit(f"{beaten} published figures are better than the bound, so the bound is wrong")


if __name__ == "__main__":
    main()
