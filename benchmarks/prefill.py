"""A prefill of 512 tokens on the emulated target, as a ratio to the same prefill of the transformers reference.

Both run in this process, in turn, with the same number of threads: SmolLM2-135M (or the model named), all layers with
K and V kept, and the logits of the last tokens: the reference computes those of one, the device a tile of 32.

    python benchmarks/prefill.py [--tt-model=NAME] [--tokens=N] [--rounds=N] [--threads=N]
"""

from __future__ import annotations

from _decoding import emulated_prefill, opened, parser_of, print_ratio


def main() -> None:
    """Measure both prefills in turn and print their ratio."""
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--tokens", type=int, default=512)
    arguments = parser.parse_args()
    with opened(arguments) as (_, mesh_device):
        import torch

        from pytest_ttbringup.reference.loading import load_model
        from pytest_ttbringup.reference.text import PASSAGE

        model = load_model(arguments.tt_model, cache_dir=arguments.cache)
        passage = model.encode(PASSAGE)
        prompt = (passage * (arguments.tokens // len(passage) + 1))[: arguments.tokens]
        ids = torch.tensor([prompt])

        @torch.no_grad()
        def reference() -> None:
            model.reference(input_ids=ids, use_cache=True, logits_to_keep=1)

        emulated = emulated_prefill(model, arguments, mesh_device, prompt)
        print(f"{model.name}, {len(prompt)} tokens, {arguments.threads} threads, {arguments.rounds} rounds")
        print_ratio({"emulated": emulated, "transformers fp32": reference}, arguments.rounds, warm_up=1)


if __name__ == "__main__":
    main()
