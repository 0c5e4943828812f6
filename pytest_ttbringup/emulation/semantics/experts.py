"""Sending tokens to the chips that hold their experts, and the results back (mixture-of-experts layers).

Shape legend: N chips of the group, D chips of the mesh, B users and S positions per chip (N times as many in the group,
along one of the two), K chosen experts per token, E experts in all, H hidden size. The mapping [1, 1, E, D] has a 1
where a chip, counted row by row through the mesh, holds an expert; a chip's own experts are numbered in the mapping's
order. As the docstrings of TT-NN's operations have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.collectives import Group, by_place, collective

if TYPE_CHECKING:
    import torch

    Parts = list[torch.Tensor]


@by_place
@collective("ttnn.all_to_all_dispatch")
def all_to_all_dispatch(
    group: Group,
    *,
    input_tensor: Parts,
    expert_indices_tensor: Parts,
    expert_mapping_tensor: Parts,
    output_concat_dim: int | None = None,
    **_: Any,
) -> list[Any]:
    """Tokens [B, S, 1, H] and their experts [B, S, 1, K] -> the group's tokens [1, N B, S, H] (or [1, B, N S, H]) on
    each chip that holds one of their experts, and everyone's experts [1, N B, S, K].

    Rows of tokens that choose no expert of a chip are not written there: they are NaN.
    """
    import torch

    along = 1 if output_concat_dim is None else output_concat_dim
    tokens = torch.cat([_rows(part) for part in input_tensor], dim=along)
    experts = torch.cat([_rows(part) for part in expert_indices_tensor], dim=along)
    results = []
    for chip, mapping in zip(group.chips, expert_mapping_tensor, strict=True):
        held = mapping[0, 0, :, group.device_number(chip)].bool()
        wanted = held[experts.long()].any(dim=-1, keepdim=True)
        results.append((torch.where(wanted, tokens, torch.nan), experts))
    return results


@by_place
@collective("ttnn.all_to_all_combine")
def all_to_all_combine(
    group: Group,
    *,
    input_tensor: Parts,
    expert_metadata_tensor: Parts,
    expert_mapping_tensor: Parts,
    local_reduce: bool = False,
    output_shard_dim: int | None = None,
    **_: Any,
) -> Parts:
    """Results of each chip's experts [E / D, N B, S, H] ([1, N B, S, H] if already summed, `local_reduce`) and all
    experts chosen [1, N B, S, K] -> for the chip's own tokens, one row per choice: [K, B, S, H].

    A choice that no chip of the group serves is not written: NaN. So are, with `local_reduce`, a token's further
    choices on the same chip, whose sum is in the row of the first.
    """
    import torch

    along = 1 if output_shard_dim is None else output_shard_dim
    chosen = expert_metadata_tensor[0][0].long().permute(2, 0, 1)  # [K, N B, S]
    rows = torch.full((*chosen.shape, input_tensor[0].shape[-1]), torch.nan)
    for chip, results, mapping in zip(group.chips, input_tensor, expert_mapping_tensor, strict=True):
        held = mapping[0, 0, :, group.device_number(chip)].bool().nonzero().flatten().tolist()
        served = torch.zeros(chosen.shape[1:], dtype=torch.bool)
        for choice, expert_of_token in enumerate(chosen):
            for number, expert in enumerate(held):
                hit = (expert_of_token == expert) & ~served
                rows[choice][hit] = results[0 if local_reduce else number][hit]
                if local_reduce:
                    served |= hit
    return list(rows.chunk(len(group.chips), dim=along))


@by_place
@collective("ttnn.moe_routing_remap")
def moe_routing_remap(
    group: Group,  # noqa: ARG001  every collective is given it
    *,
    routing_weights_tensor: Parts,
    non_zero_weight_size: int,
    expert_parallel_size: int,
    **_: Any,
) -> Parts:
    """Weights [1, E], of which `non_zero_weight_size` are not zero -> of these, chip i of the group keeps the i-th
    `non_zero_weight_size` / `expert_parallel_size`, and zeros elsewhere.
    """
    import torch

    share = non_zero_weight_size // expert_parallel_size
    results = []
    for place, weights in enumerate(routing_weights_tensor):
        flat = weights.reshape(-1)
        kept = flat.nonzero().flatten()[place * share : (place + 1) * share]
        results.append(torch.zeros_like(flat).index_copy_(0, kept, flat[kept]).view_as(weights))
    return results


def _rows(part: torch.Tensor) -> torch.Tensor:
    """[B, S, 1, X] -> [1, B, S, X]."""
    return part.squeeze(2).unsqueeze(0)
