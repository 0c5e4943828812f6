"""Choosing experts, and moving the tokens of one of them, as TT-NN's docstrings define DeepSeek's operations.

Shape legend: E experts, K chosen per token, T tokens, W hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call
from pytest_ttbringup.emulation.formats import round_to
from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch

_ROWS = 32
"""Rows of a tile, in which tokens are moved."""


@semantics("ttnn.experimental.deepseek_grouped_gate")
def grouped_gate(scores: torch.Tensor, bias: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and biases [..., E] -> weights and indices [..., K] of the experts with the greatest biased scores, from
    those groups of experts whose best have the greatest sums. The weights are the scores without bias, scaled to a sum
    of `route_scale`.
    """
    return _best(scores.sigmoid(), bias, **options)


@semantics("ttnn.experimental.deepseek_prefill.moe_grouped_topk", refuses=("padding_config", "biased_scores"))
def moe_grouped_topk(
    scores: torch.Tensor, bias: torch.Tensor, *, score_func: str = "sigmoid", **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `grouped_gate`; the score may be sqrt(softplus(x)), too."""
    import torch

    softplus = torch.nn.functional.softplus
    return _best(scores.sigmoid() if score_func == "sigmoid" else softplus(scores).sqrt(), bias, **options)


def _best(
    affinity: torch.Tensor,
    bias: torch.Tensor,
    *,
    n_groups: int = 8,
    summed_experts_per_group: int = 2,
    topk_groups: int = 4,
    n_activated_experts: int = 8,
    route_scale: float = 1.0,
    epsilon: float = 1e-20,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    groups = (affinity + bias).unflatten(-1, (n_groups, -1))
    best = groups.topk(min(summed_experts_per_group, groups.shape[-1]), dim=-1).values.sum(-1)
    kept = torch.zeros_like(best).scatter_(-1, best.topk(min(topk_groups, n_groups), dim=-1).indices, 1.0).bool()
    biased = groups.masked_fill(~kept.unsqueeze(-1), -torch.inf).flatten(-2)
    indices = biased.topk(n_activated_experts, dim=-1).indices
    chosen = affinity.gather(-1, indices)
    return chosen / (chosen.sum(-1, keepdim=True) + epsilon) * route_scale, indices


@semantics("ttnn.experimental.topk_router_gpt")
def topk_router_gpt(
    call: Call,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    bias_tensor: torch.Tensor,
    *,
    k: int,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [T, W] times a router's weights [W, E], plus biases -> indices of the K greatest logits and the softmax of
    these K, each [T, K]; logits are in bfloat16 before they are compared (TT-NN's `test_topk_router_gpt.py`).
    """
    logits = round_to(input_tensor @ weight_tensor + bias_tensor, call.argument(0, "input_tensor").dtype)
    best = logits.topk(k, dim=-1)
    return best.indices, best.values.softmax(-1)


@semantics("ttnn.experimental.deepseek_prefill.masked_bincount")
def masked_bincount(
    input_tensor: torch.Tensor, expert_mask: torch.Tensor, n_routed_experts: int, num_experts_per_token: int
) -> torch.Tensor:
    """Expert indices [T, K or more] -> how often each of E experts occurs, 0 where the mask is negative."""
    import torch

    chosen = input_tensor[:, :num_experts_per_token].reshape(-1).long()
    counts = torch.bincount(chosen[chosen < n_routed_experts], minlength=n_routed_experts)
    return torch.where(expert_mask.reshape(-1)[:n_routed_experts] < 0, 0, counts)


@semantics("ttnn.experimental.deepseek_prefill.post_combine_reduce")
def post_combine_reduce(
    combine_output: torch.Tensor,
    weights: torch.Tensor,
    indices: torch.Tensor | None = None,
    expert_dispatch_table: torch.Tensor | None = None,
    *,
    expert_dim: int = 3,
    **_: Any,
) -> torch.Tensor:
    """Experts' outputs [..., K, W] and weights [..., K, 1] -> weighted sums [..., W].

    Experts whose entry of the table is negative do not count, without a table those of weight zero.
    """
    import torch

    skipped = weights == 0
    if indices is not None and expert_dispatch_table is not None:
        skipped = expert_dispatch_table.reshape(-1)[indices.reshape(weights.shape).long()] < 0
    terms = torch.where(skipped, 0.0, combine_output) * torch.where(skipped, 0.0, weights)
    return terms.sum(expert_dim)


@semantics("ttnn.experimental.deepseek_prefill.extract")
def extract(
    global_tensor: torch.Tensor,
    start: torch.Tensor,
    counts: torch.Tensor,
    global_expert_idx_table: torch.Tensor,
    *,
    local_expert_id: int,
    max_dispatched_tokens_per_expert: int,
) -> torch.Tensor:
    """The tokens [T, W] of one expert, in whole tiles, as the first rows of the result; the others are NaN."""
    import torch

    first, rows = _tokens(start, counts, global_expert_idx_table, local_expert_id)
    result = torch.full((max_dispatched_tokens_per_expert, global_tensor.shape[-1]), torch.nan)
    result[:rows] = global_tensor.reshape(-1, global_tensor.shape[-1])[first : first + rows]
    return result


@semantics("ttnn.experimental.deepseek_prefill.insert", updates="global_tensor")
def insert(
    call: Call,
    global_tensor: torch.Tensor,
    local_tensor: torch.Tensor,
    start: torch.Tensor,
    counts: torch.Tensor,
    global_expert_idx_table: torch.Tensor,
    *,
    local_expert_id: int,
) -> None:
    """The inverse of `extract`: rows of one expert back into their place."""
    del call
    first, rows = _tokens(start, counts, global_expert_idx_table, local_expert_id)
    global_tensor.view(-1, global_tensor.shape[-1])[first : first + rows] = local_tensor.reshape(
        -1, local_tensor.shape[-1]
    )[:rows]


def _tokens(start: torch.Tensor, counts: torch.Tensor, table: torch.Tensor, local: int) -> tuple[int, int]:
    """The first row of an expert's tokens, and how many rows its tiles have."""
    expert = int(table.reshape(-1)[local])
    return int(start.reshape(-1)[expert]), -(-int(counts.reshape(-1)[expert]) // _ROWS) * _ROWS
