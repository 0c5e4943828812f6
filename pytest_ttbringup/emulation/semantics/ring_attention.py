"""Attention spread over a ring of chips.

Shape legend: N chips of the ring; the parts of a tensor are lists of N. B users, H query heads, S sequence, h head
size, J joint sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.collectives import Group, by_place, collective
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import torch

    Parts = list[torch.Tensor]


@by_place
@collective("ttnn.transformer.ring_distributed_scaled_dot_product_attention")
def ring_distributed_attention(
    group: Group,
    *,
    input_tensor_q: Parts,
    input_tensor_k: Parts,
    input_tensor_v: Parts,
    ring_size: int,
    ring_id: int | None = None,
    **options: Any,
) -> Parts:
    """Causal attention [B, H, S, h] of which chip i computes the i-th of 2 N chunks of S and the i-th from the end.

    Without `ring_id`, a chip's i is its place along the first mesh axis of `ring_size` chips (`resolve_ring_id` in
    TT-NN's `ring_distributed_sdpa_program_factory.cpp`).

    Raises:
        EmulationError: no `ring_id`, and no mesh axis has `ring_size` chips.
    """
    import ttnn

    golden = ttnn.transformer.ring_distributed_scaled_dot_product_attention.golden_function
    known = {name: options[name] for name in ("scale", "chunk_start_idx") if name in options}
    axis = group.mesh_shape.index(ring_size) if ring_size in group.mesh_shape else None
    if ring_id is None and axis is None:
        raise EmulationError(f"{group.name}: no axis of the {group.mesh_shape} mesh has ring_size={ring_size} chips")
    tables = options.get("page_table") or [None] * len(group.chips)
    done: dict[tuple[int, ...], torch.Tensor] = {}
    results = []
    for chip, *held in zip(group.chips, input_tensor_q, input_tensor_k, input_tensor_v, tables, strict=True):
        place = chip[axis] if ring_id is None and axis is not None else ring_id
        key = (int(place or 0), *map(id, held))
        if key not in done:
            done[key] = golden(*held[:3], ring_size, place, page_table=held[3], **known)
        results.append(done[key])
    return results


_JOINT_REFUSES = (
    "is_causal",
    "is_balanced",
    "is_cross",
    "kv_cache_batch_idx",
    "kv_actual_isl",
    "attention_sink",
    "sliding_window_size",
    "circular_kv_cache",
    "slot_id",
    "kv_actual_isl_tensor",
    "kv_valid_end_tensor",
)


@collective(
    "ttnn.transformer.ring_joint_scaled_dot_product_attention",
    "ttnn.transformer.exp_ring_joint_scaled_dot_product_attention",
)
def ring_joint_attention(
    group: Group,
    *,
    input_tensor_q: Parts,
    input_tensor_k: Parts,
    input_tensor_v: Parts,
    joint_tensor_q: Parts | None = None,
    joint_tensor_k: Parts | None = None,
    joint_tensor_v: Parts | None = None,
    joint_strategy: str = "rear",
    logical_n: Any = None,
    logical_l: Any = 0,
    scale: float | None = None,
    dim: int = 2,
    **options: Any,
) -> list[Any]:
    """Each chip's queries [B, H, S/N, h], and the joint ones [B, H, J, h], attend to the keys of all chips and the
    joint ones: (output, joint output, None). The third output is the device's own scratch, and so is what the gather
    leaves in the persistent buffers.

    Raises:
        EmulationError: an option is given that is not emulated.
    """
    import torch
    import ttnn

    for name in _JOINT_REFUSES:
        if options.get(name) is not None and options[name] is not False:
            raise EmulationError(f"{group.name}: {name}={options[name]!r} is not emulated")
    golden = ttnn.transformer.ring_joint_scaled_dot_product_attention.golden_function
    keys, values = torch.cat(input_tensor_k, dim=dim), torch.cat(input_tensor_v, dim=dim)
    none = [None] * len(group.chips)
    joints = (joint_tensor_q or none, joint_tensor_k or none, joint_tensor_v or none)
    lengths = {"logical_n": _number(logical_n), "logical_l": _number(logical_l)}
    return [
        (*golden(queries, keys, values, *joint, joint_strategy=joint_strategy, scale=scale, **lengths)[:2], None)
        for queries, *joint in zip(input_tensor_q, *joints, strict=True)
    ]


def _number(value: Any) -> Any:
    """A number that may be given as a tensor of one element, of which every chip has the same."""
    return int(value[0].item()) if isinstance(value, list) else value


@by_place
@collective("ttnn.reduce_to_root")
def reduce_to_root(
    group: Group,
    *,
    input_tensor_l: Parts,
    input_tensor_s: Parts,
    input_tensor_m: Parts,
    root_coord: Any,
    scale_fp32: float = 1.0,
    **_: Any,
) -> list[Any]:
    """Join attention that N chips computed over a part of the keys each. Of every core's block of columns, with the
    chips' outputs l, sums of exponentials s and maxima m (s and m in 32 equal columns):

        m = max m_i;  s = sum s_i * exp((m_i - m) * scale);  l = sum l_i * exp((m_i - m) * scale) / s

    (l, s, m) on the root; the outputs of the other chips are not written.
    """
    import torch

    cores = input_tensor_s[0].shape[-1] // 32
    maxima = torch.stack([_by_core(part, cores) for part in input_tensor_m])
    most = maxima.amax(dim=0)
    weights = ((maxima - most) * scale_fp32).exp()
    sums = (torch.stack([_by_core(part, cores) for part in input_tensor_s]) * weights).sum(dim=0)
    outputs = (torch.stack([_by_core(part, cores) for part in input_tensor_l]) * weights[..., :1]).sum(dim=0)
    joined = tuple(it.flatten(-2) for it in (outputs / sums[..., :1], sums, most))
    return [joined if chip == tuple(root_coord) else None for chip in group.chips]


def _by_core(part: torch.Tensor, cores: int) -> torch.Tensor:
    """[..., cores * w] -> [..., cores, w]."""
    return part.unflatten(-1, (cores, -1))  # type: ignore[no-any-return]
