"""Splitting a fused projection into attention heads, and joining heads again.

Shape legend: B users, S positions, H query heads, K key/value heads, h head size. In decode S is 1 and B the rows of a
tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.calls import Call


@semantics("ttnn.experimental.nlp_create_qkv_heads_decode")
def nlp_create_qkv_heads_decode(
    input_tensor: torch.Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    batch_offset: torch.Tensor | None = None,
    slice_size: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[1, 1, B, (H + 2K) h] -> q [1, B, H, h], k and v [1, B, K, h]; of `slice_size` users from `batch_offset` on, if
    these are given.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    first = 0 if batch_offset is None else int(batch_offset.reshape(-1)[0])
    rows = input_tensor[0, 0, first:][:slice_size]
    heads = rows.unflatten(-1, (num_heads + 2 * kv_heads, -1)).unsqueeze(0)
    return heads[:, :, :num_heads], heads[:, :, num_heads : num_heads + kv_heads], heads[:, :, num_heads + kv_heads :]


@semantics("ttnn.experimental.nlp_concat_heads_decode")
def nlp_concat_heads_decode(call: Call, input_tensor: torch.Tensor, *, num_heads: int, **_: Any) -> torch.Tensor:
    """[1, B, H or more, h] -> [1, 1, B', H h]; B' is B, or the 32 rows of a tile, as TT-NN's output has it."""
    import torch

    joined = input_tensor[:, :, :num_heads].flatten(-2).unsqueeze(1)
    rows = int(call.output.shape[-2])
    return torch.nn.functional.pad(joined, (0, 0, 0, rows - joined.shape[-2]), value=float("nan"))


@semantics("ttnn.experimental.nlp_create_qkv_heads", refuses=("kv_tied",))
def nlp_create_qkv_heads(
    call: Call,
    input: torch.Tensor,  # noqa: A002
    input_kv: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, 1, S, (H + 2K) h] -> q [B, H, S, h], k [B, K, S, h] (or [B, K, h, S]), v [B, K, S, h].

    A sharded input's shards lie side by side, each with the queries, keys and values of its own heads (TT-NN's
    `test_nlp_create_qkv_heads.py`, `run_sharded_nlp_create_qkv_heads_test`).
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    shards = _shards(call.argument(0, "input"))
    if input_kv is None:
        q, k, v = _split(input[:, 0], (num_heads, kv_heads, kv_heads), shards)
    else:
        (q,) = _split(input[:, 0], (num_heads,), 1)
        k, v = _split(input_kv[:, 0], (kv_heads, kv_heads), shards)
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


def _split(fused: torch.Tensor, heads: tuple[int, ...], groups: int) -> list[torch.Tensor]:
    """[B, S, sum(heads) h], of so many groups of heads of every kind -> [B, n, S, h] for each n of `heads`."""
    apart = fused.unflatten(-1, (groups, sum(heads) // groups, -1))  # [B, S, groups, heads of a group, h]
    kinds = apart.split([count // groups for count in heads], dim=-2)
    return [kind.flatten(2, 3).transpose(1, 2) for kind in kinds]


def _shards(tensor: ttnn.Tensor) -> int:
    """Into how many shards the width of a tensor is split; 1 if it is not sharded."""
    spec = tensor.memory_config().shard_spec
    return 1 if spec is None else int(tensor.padded_shape[-1]) // int(spec.shape[1])


@semantics("ttnn.experimental.nlp_concat_heads")
def nlp_concat_heads(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """[B, H, S, h] -> [B, 1, S, H h]."""
    return input_tensor.transpose(1, 2).flatten(-2).unsqueeze(1)


@semantics("ttnn.experimental.create_qkv_heads")
def create_qkv_heads(
    input: torch.Tensor,  # noqa: A002
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, 1, S, K (H/K + 2) h], the queries of each K/V head before its key and value -> as `nlp_create_qkv_heads`."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    group = num_heads // kv_heads
    groups = input[:, 0].unflatten(-1, (kv_heads, group + 2, -1))  # [B, S, K, H/K + 2, h]
    q = groups[..., :group, :].flatten(2, 3).transpose(1, 2)
    k, v = (groups[..., group + index, :].transpose(1, 2) for index in (0, 1))
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


@semantics(
    "ttnn.experimental.nlp_create_qkv_heads_falcon7b",
    "ttnn.experimental.nlp_create_qkv_heads_vit",
)
def nlp_create_qkv_heads_of_a_model(
    call: Call,
    input: torch.Tensor,  # noqa: A002
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, 1, S, (H + 2K) h] -> q [B, H, S, h], k and v [B, K, S, h], H and K those of the model in the name."""
    q, k, v = _split(input[:, 0], tuple(int(tensor.shape[1]) for tensor in call.output), 1)
    return q, k, v


@semantics("ttnn.experimental.nlp_create_q_heads_split")
def nlp_create_q_heads_split(
    input: torch.Tensor,  # noqa: A002
    *,
    num_heads: int,
    split_head_dim: int,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, 1, S, H h] -> [B, H, S, split_head_dim] and the other dimensions of each head."""
    heads = input[:, 0].unflatten(-1, (num_heads, -1)).transpose(1, 2)
    return heads[..., :split_head_dim], heads[..., split_head_dim:]


@semantics("ttnn.experimental.nlp_create_qkv_heads_boltz", refuses=("input_kv",))
def nlp_create_qkv_heads_boltz(
    input: torch.Tensor,  # noqa: A002
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[1, S, S, (H + 2K) h] of pairs of positions -> q [H, S, S, h], k and v [K, S, S, h] (k maybe transposed)."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input[0].unflatten(-1, (num_heads + 2 * kv_heads, -1)).permute(2, 0, 1, 3)
    q, k, v = heads.split([num_heads, kv_heads, kv_heads])
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


@semantics("ttnn.experimental.nlp_concat_heads_boltz")
def nlp_concat_heads_boltz(input_tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    """[H, S, S, h] -> [1, S, S, H h]."""
    return input_tensor.permute(1, 2, 0, 3).flatten(-2).unsqueeze(0)
