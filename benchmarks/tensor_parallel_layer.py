"""One decode step of a decoder layer of Llama-3.1-70B's size, tensor parallel on the eight chips of a T3000 (1x8).

Random bfp8_b weights; 32 users, each at a position of its own in a KV cache of 256. Every chip holds 8 query heads and
one KV head, and its share of the feed-forward columns; two all_reduce join the chips' sums. The output is compared with
the same layer in PyTorch (fp32, weights not rounded) by PCC, and so is one chip's output before the last all_reduce,
which must fail. Prints memory of the host (peak of this process) and of a chip, and times.

    python benchmarks/tensor_parallel_layer.py [--shrink=N] [--threads=N] [--cache=DIR]

It takes about 6 GB of memory. `--shrink=N` is for a try: hidden and feed-forward are an N-th, heads as many but of 64.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _memory import print_memory

from pytest_ttbringup.targets.emulated import EmulatedTarget
from pytest_ttbringup.targets.systems import system_of

CHIPS = 8
USERS = 32
CACHE_LENGTH = 256
EPSILON = 1e-5
PCC_AT_LEAST = 0.999


@dataclass(frozen=True)
class Sizes:
    """Of a decoder layer: hidden D, H query heads, K key/value heads, head h, feed-forward F."""

    hidden: int = 8192
    heads: int = 64
    kv_heads: int = 8
    head_dim: int = 128
    feed_forward: int = 28672

    def shrunk(self, factor: int) -> Sizes:
        """As many heads, each of 64; hidden and feed-forward an N-th (`factor`)."""
        return Sizes(
            self.hidden // factor, self.heads, self.kv_heads, 64 if factor > 1 else 128, self.feed_forward // factor
        )

    @property
    def chip_qkv(self) -> int:
        """Columns of the fused QKV weights on each chip."""
        return (self.heads + 2 * self.kv_heads) // CHIPS * self.head_dim

    def weights(self) -> dict[str, tuple[tuple[int, int], int]]:
        """Of each matrix: its shape [in, out], and the dimension along which the chips share it out."""
        attended = self.heads * self.head_dim
        return {
            "qkv": ((self.hidden, self.chip_qkv * CHIPS), 3),
            "output": ((attended, self.hidden), 2),
            "gate": ((self.hidden, self.feed_forward), 3),
            "up": ((self.hidden, self.feed_forward), 3),
            "down": ((self.feed_forward, self.hidden), 2),
        }


def main() -> None:
    """Build the layer, run a step, compare, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ttbringup")
    arguments = parser.parse_args()
    target = EmulatedTarget(system_of("t3000"), (1, CHIPS), arguments.cache)
    target.prepare()
    target.install()

    import torch

    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    mesh = target.open_mesh(1, CHIPS, fabric_config=True)
    print(f"1x{CHIPS} mesh of {target.system.name}, emulated, opened in {time.perf_counter() - start:.1f} s")
    target.start_test(mesh)
    try:
        _run(Sizes().shrunk(arguments.shrink), mesh)
        print_memory(target.end_test(mesh)[1])
    finally:
        target.close_mesh(mesh)


def _run(sizes: Sizes, mesh: Any) -> None:
    import torch

    from pytest_ttbringup.comparison.metrics import pcc

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(USERS, sizes.hidden, generator=generator)
    keys, values = (
        torch.randn(USERS, sizes.kv_heads, CACHE_LENGTH, sizes.head_dim, generator=generator) for _ in range(2)
    )
    positions = torch.arange(USERS) * 5 + 31
    before = _resident()
    start = time.perf_counter()
    layer = Layer(sizes, mesh, keys, values, positions)
    reference = Reference(sizes, keys, values, positions)
    expected: torch.Tensor | None = None
    for name, (shape, dim) in sizes.weights().items():  # one matrix at a time, so that the host holds them once
        weight = torch.randn(shape, generator=generator) * shape[0] ** -0.5
        layer.load(name, weight, dim)
        expected = reference.forward(name, weight, x)
        del weight
    count = sum(shape[0] * shape[1] for shape, _ in sizes.weights().values())
    print(f"{count / 1e6:.0f} M weights loaded and the reference computed in {time.perf_counter() - start:.0f} s")
    more = _resident() - before
    print(f"with the layer on the device the host holds {more:.2f} GiB more; it is {count * 4 / 2**30:.2f} GiB as fp32")
    outputs = {}
    for step in ("first step, which compiles", "second step"):
        start = time.perf_counter()
        outputs = layer.decode(x)
        print(f"{step}: {time.perf_counter() - start:.2f} s")
    assert expected is not None
    joined, alone = (pcc(outputs[name], expected) for name in ("joined", "one chip"))
    print(f"PCC against PyTorch fp32: {joined:.5f}; without the last all_reduce {alone:.5f}")
    if not joined >= PCC_AT_LEAST > alone:
        raise SystemExit(f"PCC must be at least {PCC_AT_LEAST}, and less without the last all_reduce")


class Layer:
    """The layer on the mesh."""

    def __init__(self, sizes: Sizes, mesh: Any, keys: Any, values: Any, positions: Any) -> None:
        import torch
        import ttnn

        self.sizes, self.mesh = sizes, mesh
        self.weights: dict[str, Any] = {}
        one_per_core = [(4, 8), (8, 4)][mesh.compute_with_storage_grid_size().x >= 8]
        cores = ttnn.CoreRangeSet(
            {ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(one_per_core[0] - 1, one_per_core[1] - 1))}
        )

        def by_user(width: int) -> Any:
            return ttnn.create_sharded_memory_config(
                (32, width), cores, ttnn.ShardStrategy.HEIGHT, use_height_and_width_as_shard_shape=True
            )

        self.by_user = by_user(sizes.head_dim)
        self.gain = self._place(torch.ones(1, 1, sizes.hidden // 32, 32), None, layout=ttnn.ROW_MAJOR_LAYOUT)
        self.by_column = ttnn.create_sharded_memory_config(
            (32, sizes.hidden // USERS), cores, ttnn.ShardStrategy.WIDTH, use_height_and_width_as_shard_shape=True
        )
        self.norm_program = ttnn.LayerNormShardedMultiCoreProgramConfig(
            compute_with_storage_grid_size=one_per_core,
            subblock_w=1,
            block_h=1,
            block_w=sizes.hidden // USERS // 32,
            inplace=False,
        )
        self.keys, self.values = (self._place(it, 1, dtype=ttnn.bfloat8_b) for it in (keys, values))
        self.positions = self._place(positions.int(), None, dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
        angles = _angles(sizes, positions)[None, :, None]  # [1, B, 1, h]
        self.cos, self.sin = (self._place(it, None, memory_config=self.by_user) for it in (angles.cos(), angles.sin()))
        pair = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        tile = torch.block_diag(*[pair] * 16).repeat(USERS, 1)[None, None]
        self.rotation = self._place(tile, None, memory_config=by_user(32))
        self.program = ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=ttnn.CoreCoord(*one_per_core), q_chunk_size=0, k_chunk_size=0
        )
        self.math = ttnn.init_device_compute_kernel_config(
            mesh.arch(), math_fidelity=ttnn.MathFidelity.HiFi2, fp32_dest_acc_en=True, packer_l1_acc=True
        )

    def _place(self, values: Any, dim: int | None, **options: Any) -> Any:
        import ttnn

        mapper = ttnn.ReplicateTensorToMesh(self.mesh) if dim is None else ttnn.ShardTensorToMesh(self.mesh, dim=dim)
        known = {"dtype": ttnn.bfloat16, "layout": ttnn.TILE_LAYOUT}
        return ttnn.from_torch(values, **known | options, device=self.mesh, mesh_mapper=mapper)

    def _norm(self, hidden: Any) -> Any:
        """On a grid of cores: one core's L1 does not hold what an interleaved row of 8192 needs, says TT-NN."""
        import ttnn

        normed = ttnn.rms_norm(
            ttnn.to_memory_config(hidden, self.by_column),
            weight=self.gain,
            epsilon=EPSILON,
            program_config=self.norm_program,
            memory_config=self.by_column,
        )
        return ttnn.to_memory_config(normed, ttnn.L1_MEMORY_CONFIG)

    def load(self, name: str, weight: Any, dim: int) -> None:
        """Put a matrix [in, out] on the chips, shared out along `dim` of [1, 1, in, out]."""
        import ttnn

        self.weights[name] = self._place(weight[None, None], dim, dtype=ttnn.bfloat8_b)

    def decode(self, x: Any) -> dict[str, Any]:
        """[B, D] -> [B, D]: the layer's output, and chip 0's without the last all_reduce."""
        import ttnn

        sizes, weights = self.sizes, self.weights
        linear = {"dtype": ttnn.bfloat16, "compute_kernel_config": self.math}
        hidden = self._place(x[None, None], None)
        normed = self._norm(hidden)
        qkv = ttnn.linear(normed, weights["qkv"], memory_config=ttnn.L1_MEMORY_CONFIG, **linear)
        heads = sizes.heads // CHIPS
        query, key, value = ttnn.experimental.nlp_create_qkv_heads_decode(
            qkv, num_heads=heads, num_kv_heads=sizes.kv_heads // CHIPS, memory_config=self.by_user
        )
        query, key = (
            ttnn.experimental.rotary_embedding_llama(it, self.cos, self.sin, self.rotation, is_decode_mode=True)
            for it in (query, key)
        )
        ttnn.experimental.paged_update_cache(self.keys, key, update_idxs_tensor=self.positions)
        ttnn.experimental.paged_update_cache(self.values, value, update_idxs_tensor=self.positions)
        attended = ttnn.transformer.scaled_dot_product_attention_decode(
            query,
            self.keys,
            self.values,
            cur_pos_tensor=self.positions,
            scale=sizes.head_dim**-0.5,
            program_config=self.program,
        )
        attended = ttnn.to_memory_config(attended, self.by_user)
        joined = ttnn.experimental.nlp_concat_heads_decode(attended, num_heads=heads)
        joined = ttnn.to_memory_config(joined, ttnn.L1_MEMORY_CONFIG)
        hidden = ttnn.add(hidden, ttnn.all_reduce(ttnn.linear(joined, weights["output"], **linear), cluster_axis=1))
        normed = self._norm(hidden)
        gate = ttnn.linear(normed, weights["gate"], activation="silu", **linear)
        product = ttnn.multiply(gate, ttnn.linear(normed, weights["up"], **linear))
        partial = ttnn.linear(product, weights["down"], **linear)
        output = ttnn.add(hidden, ttnn.all_reduce(partial, cluster_axis=1))
        alone = ttnn.add(hidden, partial)
        return {
            name: ttnn.to_torch(ttnn.get_device_tensors(tensor)[0])[0, 0].float()
            for name, tensor in (("joined", output), ("one chip", alone))
        }


class Reference:
    """The same layer in PyTorch, which takes its matrices one after the other."""

    def __init__(self, sizes: Sizes, keys: Any, values: Any, positions: Any) -> None:
        self.sizes, self.keys, self.values, self.positions = sizes, keys.clone(), values.clone(), positions
        self.hidden: Any = None
        self.normed: Any = None
        self.state: Any = None

    def forward(self, name: str, weight: Any, x: Any) -> Any:
        """Go on with the next matrix; the last gives the output [B, D]."""
        import torch

        if name == "qkv":
            self.hidden = x
            self.state = self._attend(_norm(x) @ weight)
        elif name == "output":
            self.hidden = self.hidden + self.state @ weight
            self.normed = _norm(self.hidden)
        elif name == "gate":
            self.state = torch.nn.functional.silu(self.normed @ weight)
        elif name == "up":
            self.state = self.state * (self.normed @ weight)
        else:
            return self.hidden + self.state @ weight
        return None

    def _attend(self, qkv: Any) -> Any:
        """[B, (H + 2K) h] in the chips' order -> [B, H h]."""
        import torch

        sizes = self.sizes
        group = sizes.heads // sizes.kv_heads
        parts = qkv.view(USERS, sizes.kv_heads, group + 2, sizes.head_dim)  # a KV head with its queries on each chip
        angles = _angles(sizes, self.positions)[:, None, None]
        rotated = _rotated(parts[:, :, : group + 1], angles)
        users = torch.arange(USERS)
        self.keys[users, :, self.positions] = rotated[:, :, group]
        self.values[users, :, self.positions] = parts[:, :, group + 1]
        scores = rotated[:, :, :group] @ self.keys.transpose(-1, -2) * sizes.head_dim**-0.5
        later = torch.arange(CACHE_LENGTH) > self.positions[:, None]
        weights = scores.masked_fill(later[:, None, None], float("-inf")).softmax(dim=-1)
        return (weights @ self.values).reshape(USERS, -1)


def _norm(x: Any) -> Any:
    import torch

    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON)


def _angles(sizes: Sizes, positions: Any) -> Any:
    """[B] -> [B, h]: the angle of each dimension, every pair of neighbours the same (Llama's RoPE, base 500000)."""
    import torch

    frequencies = 500000.0 ** (-torch.arange(0, sizes.head_dim, 2) / sizes.head_dim)
    return (positions[:, None] * frequencies).repeat_interleave(2, dim=-1)


def _rotated(x: Any, angles: Any) -> Any:
    import torch

    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * angles.cos() + turned * angles.sin()


def _resident() -> float:
    """This process's memory now, in GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


if __name__ == "__main__":
    main()
