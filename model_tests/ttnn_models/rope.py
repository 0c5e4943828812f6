"""Rotary embedding on the host: tables by Hugging Face's formulas, in the order of TT-NN's operation.

Hugging Face rotates dimension i of a head with dimension i + h/2 (half order); TT-NN's `rotary_embedding_llama` rotates
dimension 2i with 2i + 1 (interleaved order). The rows of the query and key projections are permuted once, so that Q and
K come out interleaved. Their dot products are the same in either order, and V is not concerned.
"""

from __future__ import annotations

import torch

from .config import TILE_SIZE, ModelConfig


def to_interleaved(x: torch.Tensor) -> torch.Tensor:
    """[..., h] in half order → [..., h] interleaved: out[2i] = x[i], out[2i + 1] = x[i + h/2]."""
    interleaved: torch.Tensor = x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    return interleaved


def from_interleaved(x: torch.Tensor) -> torch.Tensor:
    """[..., h] interleaved → [..., h] in half order; undoes `to_interleaved`."""
    halves: torch.Tensor = x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
    return halves


def interleave_rows(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """A query or key projection [heads·h, D] whose heads come out interleaved."""
    heads: torch.Tensor = weight.unflatten(0, (-1, head_dim))  # [heads, h, D]
    return to_interleaved(heads.transpose(1, 2)).transpose(1, 2).flatten(0, 1)


def cos_sin_tables(config: ModelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of every position, each [max_seq_len, h], float32, interleaved.

    They come from `transformers`' own rotary embedding, so that a scaling means here what it means in the reference.
    """
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotary = LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=config.hidden_size,
            num_attention_heads=config.num_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.max_seq_len,
            rope_parameters=config.rope.to_hf(),
        )
    )
    positions = torch.arange(config.max_seq_len)[None]
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), positions)  # [1, S, h] in half order
    return to_interleaved(cos[0]), to_interleaved(sin[0])


def rotation_tile() -> torch.Tensor:
    """The [32, 32] matrix with x @ matrix = (-x[1], x[0], -x[3], x[2], …): the other member of every pair, signed."""
    pair = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    matrix: torch.Tensor = torch.block_diag(*[pair] * (TILE_SIZE // 2))
    return matrix
