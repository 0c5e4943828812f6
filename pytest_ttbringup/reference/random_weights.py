"""Weights for models that need no file: random, but with activations, attention and logits like those of trained ones.

The usual start of training (normal, 0.02) would make a poor reference: attention is uniform, layers add next to nothing
to the residual stream, and all logits nearly tie. So, with x ~ N(0, 1) for a normed activation and D its size:

- query and key rows have standard deviation 1.5 / sqrt(D): attention scores spread by about 2 and the entropy of
  attention over 256 tokens is 3 to 4 (uniform: 5.5), so position, scale, mask and head order all matter;
- attention and MLP add half the embedding's RMS each: the residual stream grows from 1.0 to 1.5 over 4 layers, and each
  layer counts;
- norm weights are uniform in 0.5 to 1.5, so that leaving one out shows;
- logits spread by 3. Row y of an untied head points in part (0.6) to the embedding of one other token, which gives
  about half the positions a clear favourite and leaves the others to the layers. A tied head can't; there the final
  norm's weights have random signs, or every token would predict itself;
- tokens that are no printable text get embeddings or head rows of 0.3 times the size, so greedy text is readable and
  does not end.

Measured on tiny-llama with linear weights rounded to bfp8_b and activations to bf16: 99 % of the likeliest tokens stay
the same, and at most 84 % do when any one attention or MLP is left out, heads are swapped, or the rotation, scale or
SiLU is missing (tests/reference/test_random_weights.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import LlamaConfig

QUERY_KEY_SPREAD = 1.5
BRANCH_RMS = 0.5
LOGIT_SPREAD = 3.0
FAVOURITE = 0.6
QUIET = 0.3
# RMS of silu(g) * u for independent standard normal g and u: sqrt(E[silu(g)^2]).
SWIGLU_RMS = 0.596


def random_weights(config: LlamaConfig, seed: int, quiet_tokens: Iterable[int] = ()) -> dict[str, torch.Tensor]:
    """A state dict (fp32) for `LlamaForCausalLM(config)`, the same for the same arguments on every machine.

    Args:
        config: without biases.
        seed: any whole number from 0.
        quiet_tokens: tokens that greedy text should avoid.
    """
    # NumPy's generator: the same bits on every machine, while torch's vectorized normal depends on the processor.
    generator = np.random.default_rng(seed)

    def normal(rows: int, columns: int, rms: float) -> torch.Tensor:
        return torch.from_numpy((generator.standard_normal((rows, columns)) * rms).astype(np.float32))

    def norm_weight(signs: bool = False) -> torch.Tensor:
        weight = generator.uniform(0.5, 1.5, hidden)
        return torch.from_numpy(
            (weight * generator.choice((-1.0, 1.0), hidden) if signs else weight).astype(np.float32)
        )

    hidden, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    head_dim = int(config.head_dim or hidden // config.num_attention_heads)
    queries, keys = (
        config.num_attention_heads * head_dim,
        int(config.num_key_value_heads or config.num_attention_heads) * head_dim,
    )
    unit = 1 / math.sqrt(hidden)

    weights = {"model.embed_tokens.weight": normal(vocabulary, hidden, 1.0)}
    for index in range(config.num_hidden_layers):
        layer = f"model.layers.{index}."
        weights |= {
            layer + "input_layernorm.weight": norm_weight(),
            layer + "self_attn.q_proj.weight": normal(queries, hidden, QUERY_KEY_SPREAD * unit),
            layer + "self_attn.k_proj.weight": normal(keys, hidden, QUERY_KEY_SPREAD * unit),
            layer + "self_attn.v_proj.weight": normal(keys, hidden, unit),
            layer + "self_attn.o_proj.weight": normal(hidden, queries, BRANCH_RMS / math.sqrt(queries)),
            layer + "post_attention_layernorm.weight": norm_weight(),
            layer + "mlp.gate_proj.weight": normal(inner, hidden, unit),
            layer + "mlp.up_proj.weight": normal(inner, hidden, unit),
            layer + "mlp.down_proj.weight": normal(hidden, inner, BRANCH_RMS / (SWIGLU_RMS * math.sqrt(inner))),
        }
    tied = bool(config.tie_word_embeddings)
    weights["model.norm.weight"] = norm_weight(signs=tied)
    embedding = weights["model.embed_tokens.weight"]
    if tied:
        head = embedding
    else:
        favourites = torch.from_numpy(generator.permutation(vocabulary))
        head = normal(vocabulary, hidden, 1.0) + FAVOURITE * embedding[favourites]
        head *= LOGIT_SPREAD * unit / math.sqrt(1 + FAVOURITE**2)
    head[list(quiet_tokens)] *= QUIET
    weights["lm_head.weight"] = head
    return weights
