"""The speeds that Tenstorrent published for Llama models beside their bounds (`planning.roofline.published`).

Records each model once on a mock n300, in bfloat8_b, without weights: TT-NN's host side sees the same 8x8 cores of a
Wormhole chip on every system here. Prints a line for each published speed, with its share of the bound; exits with 1 if
one is above its bound. The ladder's RMSNorm can't take the 8192 columns of a 70B on one core, says TT-NN, so that model
is given one that is spread over 32 cores; the norm's own share of a step is below 1 %.

    python benchmarks/roofline_published.py [--cache=DIR] [--operations=FILE]

`--operations=FILE` writes what was recorded, as JSON, for the tests.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_ttbringup.planning.roofline.bound import Bound
from pytest_ttbringup.planning.roofline.model_steps import ModelSteps, mock_chip, record_model
from pytest_ttbringup.planning.roofline.peaks import peaks_of
from pytest_ttbringup.planning.roofline.published import POSITION, PUBLISHED, with_mlp_bfp4
from pytest_ttbringup.planning.roofline.work import Step
from pytest_ttbringup.planning.sources import config_of
from pytest_ttbringup.replacing import replace
from pytest_ttbringup.targets.systems import system_of

WIDEST_ON_A_CORE = 4096
"""Columns that the ladder's RMSNorm is known to take."""


def main() -> None:
    """Record, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    parser.add_argument("--operations", type=Path)
    arguments = parser.parse_args()
    recorded: dict[tuple[str, int], ModelSteps] = {}
    with mock_chip(system_of("n300"), arguments.cache) as mesh:
        for it in PUBLISHED:
            if (it.model, it.chips) not in recorded:
                recorded[it.model, it.chips] = _record(it.model, it.chips, mesh)
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


def _record(model: str, chips: int, mesh: Any) -> ModelSteps:
    name, config = config_of(model)
    with ExitStack() as changes:
        if config.hidden_size > WIDEST_ON_A_CORE:
            from ttnn_models.rms_norm import RMSNorm

            replace(changes, RMSNorm, "_forward", _spread_norm)
        return record_model(name, config, mesh, chips=chips, position=POSITION, prompt=POSITION)


def _spread_norm(norm: Any, x: Any, memory_config: Any) -> Any:
    """`RMSNorm._forward` with the columns of [1, 1, rows, D] on 8x4 cores."""
    import ttnn
    from ttnn_models.layouts import USER_COLUMNS, USER_ROWS, user_cores

    rows, columns = x.padded_shape[-2], x.padded_shape[-1] // (USER_COLUMNS * USER_ROWS)
    by_column = ttnn.create_sharded_memory_config(
        (rows, columns), user_cores(), ttnn.ShardStrategy.WIDTH, use_height_and_width_as_shard_shape=True
    )
    program = ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=(USER_COLUMNS, USER_ROWS),
        subblock_w=1,
        block_h=rows // ttnn.TILE_SIZE,
        block_w=columns // ttnn.TILE_SIZE,
        inplace=False,
    )
    normed = ttnn.rms_norm(
        ttnn.to_memory_config(x, by_column),
        epsilon=norm.eps,
        weight=norm.weight,
        program_config=program,
        memory_config=by_column,
        compute_kernel_config=norm.kernel_config,
    )
    return ttnn.to_memory_config(normed, memory_config)


if __name__ == "__main__":
    main()
