"""One decode step of a decoder layer of Llama-3.1-70B's size, tensor parallel on the eight chips of a T3000 (1x8).

The TT-NN layer is that of `model_tests/ttnn_models`, with random bfp8_b weights; every chip has 8 query heads, one KV
head, its part of the feed-forward block and of the residual (fractured: one core's L1 does not hold what the norm of
an interleaved row of 8192 needs, says TT-NN). 32 users on each row of the mesh, each at a position of its own in a KV
cache of 256. The output is compared with the same layer of `transformers` (fp32, weights not rounded) by PCC, and so is
the output without the last sum over the chips, which must fail. Prints memory of the host (peak of this process) and of
a chip, and times.

    python benchmarks/tensor_parallel_layer.py [--model=NAME] [--mesh=RxC] [--residual=KIND] [--shrink=N] [--threads=N]

`--mesh=8x4` takes a Galaxy: its rows are eight instances, data x tensor parallel. On 1x8, 70B takes 7.8 GiB of
memory and 8B 2.7.
`--shrink=N` is for a try: hidden and feed-forward are an N-th, heads as many but of 64.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

from _memory import print_memory

from pytest_ttbringup.planning.known_configs import KNOWN_CONFIGS
from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

sys.path.insert(0, str(Path(__file__).parents[1] / "model_tests"))

CACHE_LENGTH = 256
PCC_AT_LEAST = 0.999
LLAMAS = tuple(name for name, config in KNOWN_CONFIGS.items() if config["model_type"] == "llama")


def main() -> None:
    """Build the layer, run a step, compare, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=LLAMAS, default="llama-3.1-70b")
    parser.add_argument("--mesh", default="1x8")
    parser.add_argument("--residual", choices=("fractured", "replicated"), default="fractured")
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    rows, columns = map(int, arguments.mesh.split("x"))
    system = system_of("t3000" if rows * columns <= 8 else "galaxy")
    target = EmulatedTarget(system, (rows, columns), arguments.cache, "exact")
    target.prepare()
    target.install()

    import torch

    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    mesh = target.open_mesh(rows, columns, fabric_config=True)
    opened = time.perf_counter() - start
    print(f"{arguments.model}: {rows}x{columns} mesh of {target.system.name}, emulated, opened in {opened:.1f} s")
    target.start_test(mesh)
    try:
        _run(_reference(arguments.model, arguments.shrink), mesh, (rows, columns), arguments.residual)
        print_memory(target.end_test(mesh)[1])
    finally:
        target.close_mesh(mesh)


def _reference(name: str, shrink: int) -> Any:
    """A `LlamaForCausalLM` of one layer of this model's size, with a vocabulary of hardly anything."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {key: value for key, value in KNOWN_CONFIGS[name].items() if key != "model_type"}
    sizes |= {"num_hidden_layers": 1, "vocab_size": 128, "max_position_embeddings": CACHE_LENGTH}
    if shrink > 1:
        small = {key: sizes[key] // shrink for key in ("hidden_size", "intermediate_size")}
        sizes |= {**small, "head_dim": 64}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, attn_implementation="sdpa")
    with torch.no_grad():
        model = LlamaForCausalLM(config).eval()
        for weight in model.model.layers[0].parameters():
            if weight.dim() == 2:
                weight.normal_(std=weight.shape[1] ** -0.5)
    return model


def _run(reference: Any, mesh: Any, shape: tuple[int, int], residual: Any) -> None:
    import torch
    from decode_inputs import decode_state, write_history
    from ttnn_models.config import ModelConfig
    from ttnn_models.contiguous_kv_cache import ContiguousKVCache
    from ttnn_models.decoder_layer import DecoderLayer
    from ttnn_models.parallelism import Parallelism
    from ttnn_models.rotary_embedding import RotaryEmbedding

    from pytest_ttbringup.comparison.metrics import pcc
    from pytest_ttbringup.fixtures.tensors import to_mesh
    from pytest_ttbringup.reference.decode import reference_decode_layer

    parallelism = Parallelism.over(shape, "tp" if 1 in shape else "dpxtp", residual=residual)
    config = ModelConfig.from_hf(reference.config, max_seq_len=CACHE_LENGTH, parallelism=parallelism)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(config.users, config.hidden_size, generator=generator)
    past = (config.users, config.num_kv_heads, CACHE_LENGTH, config.head_dim)
    keys, values = (torch.randn(past, generator=generator) for _ in range(2))
    positions = (torch.arange(config.users) * 5 + 31) % CACHE_LENGTH
    expected = reference_decode_layer(reference, 0, x, keys, values, positions).output

    before, start = _resident(), time.perf_counter()
    weights = reference.model.layers[0].state_dict()
    rotary = RotaryEmbedding(mesh, config)
    layer = DecoderLayer.from_weights(mesh, config, weights, rotary=rotary)
    count = sum(weight.numel() for weight in weights.values())
    print(f"{count / 1e6:.0f} M weights loaded in {time.perf_counter() - start:.0f} s; {residual} residual")
    more = _resident() - before
    print(f"with the layer on the device the host holds {more:.2f} GiB more; it is {count * 4 / 2**30:.2f} GiB as fp32")

    cache = ContiguousKVCache(mesh, config)
    write_history(cache, keys, values, CACHE_LENGTH)
    state = decode_state(mesh, positions, parallelism=parallelism)
    tables = rotary.decode_tables(state.rotary_positions)
    rows = to_mesh(x[None, None], lambda: mesh, parallelism.spread("residual", "residual"))

    def step() -> torch.Tensor:
        out = layer.decode(rows, positions=state.positions, rotary_tables=tables, kv_cache=cache)
        return parallelism.join(out, data=2, tensor_dim=parallelism.residual_dim)

    for what in ("first step, which compiles", "second step"):
        start = time.perf_counter()
        output = step()
        print(f"{what}: {time.perf_counter() - start:.2f} s")
    joined = pcc(output[0, 0], expected)
    layer.mlp.collectives = _WithoutSum(layer.mlp.collectives)
    alone = layer.decode(rows, positions=state.positions, rotary_tables=tables, kv_cache=cache)
    parts = [torch.cat(chips, dim=3) if parallelism.fractured else chips[0] for chips in parallelism.parts(alone)]
    unsummed = pcc(torch.cat(parts, dim=2)[0, 0], expected)
    print(f"{config.users} users, PCC against PyTorch fp32: {joined:.5f}; without the last sum {unsummed:.5f}")
    if not joined >= PCC_AT_LEAST > unsummed:
        raise SystemExit(f"PCC must be at least {PCC_AT_LEAST}, and less without the last sum")


class _WithoutSum:
    """Leaves every chip with its own summand, cut to what the residual keeps."""

    def __init__(self, collectives: Any) -> None:
        self.collectives = collectives

    def residual_of_sum(self, partial: Any, memory_config: Any) -> Any:
        """Of a chip's own summand."""
        import ttnn

        if not self.collectives.fractured:
            return partial
        return ttnn.mesh_partition(partial, dim=3, cluster_axis=self.collectives.axis, memory_config=memory_config)


def _resident() -> float:
    """This process's memory now, in GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


if __name__ == "__main__":
    main()
