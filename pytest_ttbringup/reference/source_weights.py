"""Weights read straight from a model's source, by another way than the loader's: what the loaded ones are checked
against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pytest_ttbringup.reference.gguf_header import GgufHeader, read_header
from pytest_ttbringup.reference.sources import weight_files

if TYPE_CHECKING:
    from pytest_ttbringup.reference.model import BringupModel

# llama.cpp's names (docs/gguf.md of ggml-org/ggml, "Standardized tensor names") for those of Hugging Face.
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def source_weights(model: BringupModel, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each of `names` (as in the reference's state dict) that the source has, with its values in fp32."""
    if model.entry.kind == "gguf":
        header = read_header(model.entry.location)
        for name in names:
            if gguf_name(name) in header.tensors:
                yield name, _gguf_weight(model, header, name)
    elif model.entry.kind == "folder":
        yield from _safetensors_weights(model.entry.location, names)
    else:
        from pytest_ttbringup.reference.random_weights import random_weights
        from pytest_ttbringup.reference.text import unprintable_tokens

        weights = random_weights(model.config, model.seed, unprintable_tokens(model.tokenizer))
        yield from ((name, weights[name]) for name in names)


def gguf_name(name: str) -> str:
    """llama.cpp's name of a weight of `LlamaForCausalLM`."""
    stem, _, suffix = name.rpartition(".")
    if not stem.startswith("model.layers."):
        return f"{GGUF_NAMES[stem]}.{suffix}"
    _, _, index, part = stem.split(".", 3)
    return f"blk.{index}.{GGUF_NAMES[part]}.{suffix}"


def _gguf_weight(model: BringupModel, header: GgufHeader, name: str) -> torch.Tensor:
    import numpy as np
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize, quant_shape_to_byte_shape

    info = header.tensors[gguf_name(name)]
    kind = GGMLQuantizationType(info.ggml_type)
    shape = quant_shape_to_byte_shape(info.shape, kind)
    data = np.memmap(header.path, dtype=np.uint8, mode="r", offset=info.offset, shape=shape)
    weight = torch.from_numpy(np.array(dequantize(data, kind), dtype=np.float32))
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}.get(
        name.split(".")[-2]
    )
    if heads is None:
        return weight
    # llama.cpp rotates neighbouring pairs, Hugging Face the two halves of a head: rows 0 2 4 … 1 3 5 … of each head.
    rows = weight.view(heads, -1, weight.shape[1])
    return torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).reshape(weight.shape)


def _safetensors_weights(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in sorted(set(names) & set(file.keys())):
                yield name, file.get_tensor(name).float()
