"""One decode step of 32 users on the emulated target, as a ratio to the same step of the transformers reference.

The memory printed is that of both, of the reference and of the values that the emulated device holds.

Both run in this process, in turn, with the same number of threads: SmolLM2-135M (or the model named), all layers and
the LM head, every user at position 128 of its KV cache. The reference computes in fp32 with transformers' own cache.

    python benchmarks/decode_step.py [--tt-model=NAME] [--rounds=N] [--threads=N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _memory import print_memory

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

sys.path.insert(0, str(Path(__file__).parent.parent / "model_tests"))

USERS = 32
POSITION = 128


def main() -> None:
    """Measure both steps in turn and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tt-model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    target = EmulatedTarget(system_of("n150"), (1, 1), arguments.cache)
    target.prepare()
    target.install()

    import torch

    torch.set_num_threads(arguments.threads)
    mesh_device = target.open_mesh(1, 1)
    try:
        step = _measure(arguments, mesh_device)
        target.start_test(mesh_device)  # apart from the times, since it costs some itself
        step()
        print_memory(target.end_test(mesh_device)[1])
    finally:
        target.close_mesh(mesh_device)


def _measure(arguments: argparse.Namespace, mesh_device: object) -> Callable[[], None]:
    """Print the times; gives back the emulated step."""
    import torch
    from ttnn_models.config import ModelConfig
    from ttnn_models.decode_state import DecodeState
    from ttnn_models.model import CausalLM
    from ttnn_models.weights import WeightCache

    from pytest_ttbringup.reference.decode import History, reference_decode_stack
    from pytest_ttbringup.reference.loading import load_model

    model = load_model(arguments.tt_model, cache_dir=arguments.cache)
    config = ModelConfig.from_hf(model.config, max_seq_len=2 * POSITION)
    causal_lm = CausalLM.from_weights(
        mesh_device,
        config,
        model.reference.state_dict(),
        weight_cache=WeightCache(arguments.cache / "weights"),
    )
    caches = causal_lm.new_kv_caches()
    state = DecodeState(mesh_device)
    past = torch.zeros(USERS, config.num_kv_heads, POSITION, config.head_dim)
    history = History((past,) * config.num_layers, (past,) * config.num_layers, torch.full((USERS,), POSITION))
    tokens = torch.arange(USERS)

    def emulated() -> None:
        state.write_positions([POSITION] * USERS)
        state.write_tokens(tokens.tolist())
        causal_lm.decode_greedy(state, caches)
        state.read_tokens()

    def reference() -> None:
        reference_decode_stack(model.reference, tokens, history, history.lengths).logits.argmax(-1)

    ours, theirs = _in_turn((emulated, reference), arguments.rounds)
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(f"{model.name}, {USERS} users at position {POSITION}, {arguments.threads} threads, {arguments.rounds} rounds")
    for name, times in (("emulated", ours), ("transformers fp32", theirs)):
        print(f"  {name:<18} {statistics.median(times) * 1e3:7.1f} ms   (least {min(times) * 1e3:.1f})")
    print(
        f"  ratio              {statistics.median(ratios):7.2f}      (of the least times {min(ours) / min(theirs):.2f})"
    )
    return emulated


def _in_turn(functions: tuple[Callable[[], None], ...], rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in functions]
    for number in range(rounds + 2):
        for function, measured in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if number >= 2:  # the first two rounds compile and fill caches
                measured.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
