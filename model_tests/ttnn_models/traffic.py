"""Bytes that a decode step reads from the DRAM of each chip, counted on the tensors that are there."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import ttnn

from pytest_ttbringup.planning.footprint import BYTES_PER_VALUE

from .config import DECODE_BATCH, TILE_SIZE
from .model import CausalLM
from .precision import format_name
from .rotary_embedding import RotaryEmbedding


def weight_bytes(model: CausalLM) -> float:
    """Of the weights that every step reads in full: those of all layers, the final norm and the LM head."""
    return sum(_bytes(it) for module in (model.decoder, model.lm_head) for it in _tensors(module))


def cache_bytes_per_position(model: CausalLM) -> float:
    """Of K and V of all layers, for one position of each of the users that decode together."""
    config = model.config
    columns = -(-config.head_dim // TILE_SIZE) * TILE_SIZE
    values = 2 * DECODE_BATCH * config.num_kv_heads * columns
    formats = [format_name(layer.attention.precision.kv_cache) for layer in model.decoder.layers]
    return float(sum(values * BYTES_PER_VALUE[it] for it in formats))


def _bytes(tensor: ttnn.Tensor) -> float:
    return float(prod(tensor.padded_shape)) * BYTES_PER_VALUE[format_name(tensor.dtype)]


def _tensors(owner: Any) -> Iterator[ttnn.Tensor]:
    """The tensors of a module and of those in it; of the rotary tables, which layers share, a step reads rows only."""
    for it in vars(owner).values():
        for part in it if isinstance(it, list) else [it]:
            if isinstance(part, ttnn.Tensor):
                yield part
            elif type(part).__module__.startswith(__package__) and not isinstance(part, RotaryEmbedding):
                yield from _tensors(part)
