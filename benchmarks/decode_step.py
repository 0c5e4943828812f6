"""One decode step of 32 users on the emulated target, as a ratio to the same step of the transformers reference.

The memory printed is that of both, of the reference and of the values that the emulated device holds.

Both run in this process, in turn, with the same number of threads: SmolLM2-135M (or the model named), all layers and
the LM head, every user at position 128 of its KV cache. The reference computes in fp32 with transformers' own cache.

    python benchmarks/decode_step.py [--tt-model=NAME] [--rounds=N] [--threads=N]
"""

from __future__ import annotations

import argparse
from typing import Any

from _decoding import POSITION, USERS, Function, emulated_step, opened, parser_of, print_ratio
from _memory import print_memory


def main() -> None:
    """Measure both steps in turn and print their ratio."""
    arguments = parser_of(__doc__, rounds=15).parse_args()
    with opened(arguments) as (target, mesh_device):
        step = _measure(arguments, mesh_device)
        target.start_test(mesh_device)  # apart from the times, since it costs some itself
        step()
        print_memory(target.end_test(mesh_device)[1])


def _measure(arguments: argparse.Namespace, mesh_device: Any) -> Function:
    """Print the times; gives back the emulated step."""
    import torch

    from pytest_ttbringup.reference.decode import History, reference_decode_stack
    from pytest_ttbringup.reference.loading import load_model

    model = load_model(arguments.tt_model, cache_dir=arguments.cache)
    emulated = emulated_step(model, arguments, mesh_device)
    heads = model.config.num_key_value_heads
    past = torch.zeros(USERS, heads, POSITION, model.config.head_dim)
    layers = model.config.num_hidden_layers
    history = History((past,) * layers, (past,) * layers, torch.full((USERS,), POSITION))
    tokens = torch.arange(USERS)

    def reference() -> None:
        reference_decode_stack(model.reference, tokens, history, history.lengths).logits.argmax(-1)

    print(f"{model.name}, {USERS} users at position {POSITION}, {arguments.threads} threads, {arguments.rounds} rounds")
    print_ratio({"emulated": emulated, "transformers fp32": reference}, arguments.rounds, warm_up=2)
    return emulated


if __name__ == "__main__":
    main()
