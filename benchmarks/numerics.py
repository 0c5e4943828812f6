"""What the device's arithmetic costs: a decode step of 32 users, `device` against `exact`, for each way to accumulate.

Both run in this process, in turn, on the same model: SmolLM2-135M (or the model named), all layers and the LM head,
every user at position 128 of its KV cache. `BF16` and `FP32` are the destination registers of every operation;
`default` is the model's own precision.

    python benchmarks/numerics.py [--tt-model=NAME] [--rounds=N] [--threads=N] [--only=BF16]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

sys.path.insert(0, str(Path(__file__).parent.parent / "model_tests"))

USERS = 32
POSITION = 128


def main() -> None:
    """Measure a step under both arithmetics in turn and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tt-model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("BF16", "FP32", "default"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    target = EmulatedTarget(system_of("n150"), (1, 1), arguments.cache)
    target.prepare()
    target.install()

    import torch

    torch.set_num_threads(arguments.threads)
    mesh_device = target.open_mesh(1, 1)
    try:
        for name in (arguments.only,) if arguments.only else ("FP32", "BF16", "default"):
            _measure(name, arguments, mesh_device)
    finally:
        target.close_mesh(mesh_device)


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
    import torch
    from ttnn_models.config import ModelConfig
    from ttnn_models.decode_state import DecodeState
    from ttnn_models.model import CausalLM
    from ttnn_models.weights import WeightCache

    from pytest_ttbringup.emulation.arithmetic import choose
    from pytest_ttbringup.reference.loading import load_model

    model = load_model(arguments.tt_model, cache_dir=arguments.cache)
    config = ModelConfig.from_hf(model.config, max_seq_len=2 * POSITION)
    causal_lm = CausalLM.from_weights(
        mesh_device,
        config,
        model.reference.state_dict(),
        precision=_precision(name),
        weight_cache=WeightCache(arguments.cache / "weights"),
    )
    caches = causal_lm.new_kv_caches()
    state = DecodeState(mesh_device)

    def step(numerics: str) -> float:
        choose(numerics, arguments.cache)
        start = time.perf_counter()
        state.write_positions([POSITION] * USERS)
        state.write_tokens(torch.arange(USERS).tolist())
        causal_lm.decode_greedy(state, caches)
        state.read_tokens()
        return time.perf_counter() - start

    times: dict[str, list[float]] = {"exact": [], "device": []}
    for number in range(arguments.rounds + 1):
        for numerics, measured in times.items():
            seconds = step(numerics)
            if number:  # the first round compiles and fills caches
                measured.append(seconds)
    ratios = [one / other for one, other in zip(times["device"], times["exact"], strict=True)]
    print(f"{model.name}, {name} destinations, {USERS} users at position {POSITION}, {arguments.threads} threads")
    for numerics, measured in times.items():
        print(f"  {numerics:<8} {statistics.median(measured) * 1e3:7.1f} ms   (least {min(measured) * 1e3:.1f})")
    least = min(times["device"]) / min(times["exact"])
    print(f"  ratio    {statistics.median(ratios):7.2f}      (of the least times {least:.2f})")


if __name__ == "__main__":
    main()
