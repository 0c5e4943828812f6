"""What the benchmarks time on the emulated target: a decode step of 32 users, each at position 128 of its KV cache, and
the prefill of a prompt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

sys.path.insert(0, str(Path(__file__).parent.parent / "model_tests"))

if TYPE_CHECKING:
    from ttnn_models.model import CausalLM

USERS = 32
POSITION = 128

Function = Callable[[], None]


def parser_of(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options of these benchmarks; `rounds` by default."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--tt-model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    return parser


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[tuple[EmulatedTarget, Any]]:
    """The emulated target in exact arithmetic, and a 1x1 mesh of it."""
    target = EmulatedTarget(system_of("n150"), (1, 1), arguments.cache, "exact")
    target.prepare()
    target.install()

    import torch

    torch.set_num_threads(arguments.threads)
    mesh_device = target.open_mesh(1, 1)
    try:
        yield target, mesh_device
    finally:
        target.close_mesh(mesh_device)


def causal_lm_of(
    model: Any, arguments: argparse.Namespace, mesh_device: Any, *, max_seq_len: int, **how: Any
) -> CausalLM:
    """The TT-NN model; `how` goes to `CausalLM.from_weights`."""
    from ttnn_models.config import ModelConfig
    from ttnn_models.model import CausalLM
    from ttnn_models.weights import WeightCache

    return CausalLM.from_weights(
        mesh_device,
        ModelConfig.from_hf(model.config, max_seq_len=max_seq_len),
        model.reference.state_dict(),
        weight_cache=WeightCache(arguments.cache / "weights"),
        **how,
    )


def emulated_step(model: Any, arguments: argparse.Namespace, mesh_device: Any, **how: Any) -> Function:
    """A greedy step of all layers and the LM head; `how` goes to `CausalLM.from_weights`."""
    from ttnn_models.decode_state import DecodeState

    causal_lm = causal_lm_of(model, arguments, mesh_device, max_seq_len=2 * POSITION, **how)
    caches = causal_lm.new_kv_caches()
    state = DecodeState(mesh_device)

    def step() -> None:
        state.write_positions([POSITION] * USERS)
        state.write_tokens(list(range(USERS)))
        causal_lm.decode_greedy(state, caches)
        state.read_tokens()

    return step


def emulated_prefill(model: Any, arguments: argparse.Namespace, mesh_device: Any, prompt: Sequence[int]) -> Function:
    """A prompt through all layers at once, its K and V to the caches, and the logits behind its last token."""
    from ttnn_models.prefill_chunk import PrefillChunk

    causal_lm = causal_lm_of(model, arguments, mesh_device, max_seq_len=len(prompt))
    caches = causal_lm.new_kv_caches()

    def prefill() -> None:
        import ttnn

        chunk = PrefillChunk.of(mesh_device, causal_lm.config, [prompt], user=0)
        hidden = causal_lm.prefill(chunk, caches)
        logits = causal_lm.last_logits(hidden, chunk)
        ttnn.to_torch(logits)
        ttnn.deallocate(logits)
        ttnn.deallocate(hidden)
        chunk.free()

    return prefill


def print_ratio(functions: dict[str, Function], rounds: int, *, warm_up: int) -> None:
    """Time two functions in turn and print the ratio of the first to the second; `warm_up` rounds go before.

    Beside the time on the clock stands that of the processors, in which other programs on the machine show less.
    """
    clocks = {"time": time.perf_counter, "CPU time": time.process_time}
    times: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in functions} for clock in clocks}
    for number in range(warm_up + rounds):
        for name, function in functions.items():
            starts = {clock: now() for clock, now in clocks.items()}
            function()
            if number >= warm_up:
                for clock, now in clocks.items():
                    times[clock][name].append(now() - starts[clock])
    width = max(map(len, functions))
    for clock, measured in times.items():
        for name, seconds in measured.items():
            median, least = statistics.median(seconds) * 1e3, min(seconds) * 1e3
            print(f"  {name:<{width}} {median:8.1f} ms {clock} (least {least:.1f})")
        ours, theirs = measured.values()
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        print(f"  {'ratio':<{width}} {ratio:8.2f} of {clock} (of the least {min(ours) / min(theirs):.2f})")
