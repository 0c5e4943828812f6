"""The sizes of a Llama-family model as its source states them: GGUF metadata, `config.json`, or the catalogue's own
configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.gguf_header import ArrayLength, GgufHeader, damaged

SUPPORTED_ARCHITECTURE = "llama"
SUPPORTED = (
    "Supported is the Llama family: model_type 'llama' (Llama 2 and 3, SmolLM2, TinyLlama, …), with grouped-query "
    "attention, RoPE with or without scaling, SwiGLU with SiLU, no biases, tied or untied embeddings"
)
REQUIRED_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class ModelAttributes:
    """Sizes and constants, named as in `transformers.LlamaConfig`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_type: str
    tie_word_embeddings: bool

    def require_consistent(self, source: object) -> None:
        """Check that the sizes fit together.

        Raises:
            BringupError: they do not; the message names `source` and the sizes.
        """
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise BringupError(
                    f"{source}: {name} is {value}; it must be above 0. Correct the model's configuration."
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise BringupError(
                f"{source}: {self.num_attention_heads} attention heads can't share {self.num_key_value_heads} KV "
                "heads evenly. Correct num_attention_heads or num_key_value_heads in the model's configuration."
            )
        if self.head_dim % 2:
            raise BringupError(
                f"{source}: head_dim is {self.head_dim}; rotary embeddings need an even one. Correct the configuration."
            )


def from_config(config: Mapping[str, Any], source: object) -> ModelAttributes:
    """The attributes in a Hugging Face configuration (the content of `config.json`), with `LlamaConfig`'s defaults.

    Raises:
        BringupError: another architecture, something TT-NN modules of the Llama family do not have, or a size that
            is missing or illegal.
    """
    model_type = config.get("model_type")
    if model_type != SUPPORTED_ARCHITECTURE:
        raise BringupError(f"{source}: model_type {model_type!r} is not supported. {SUPPORTED}. Choose such a model.")
    unsupported = {
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "quantization_config": bool(config.get("quantization_config")),
    }
    for key, is_unsupported in unsupported.items():
        if is_unsupported:
            raise BringupError(
                f"{source}: {key} {config[key]!r} is not supported. {SUPPORTED}; weights unquantized or GGUF. Choose "
                "such a model."
            )
    missing = [key for key in REQUIRED_KEYS if config.get(key) is None]
    if missing:
        raise BringupError(
            f"{source} does not state {', '.join(missing)}. Copy or download the model's own config.json again."
        )
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    try:
        heads = int(config["num_attention_heads"])
        attributes = ModelAttributes(
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // max(heads, 1)),
            vocab_size=int(config["vocab_size"]),
            max_position_embeddings=int(config.get("max_position_embeddings", 2048)),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
            rope_type=str(rope.get("rope_type", rope.get("type", "default"))),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except (TypeError, ValueError) as error:
        raise BringupError(
            f"{source} has a size that is no number: {error}. Copy or download the model's own config.json again."
        ) from error
    attributes.require_consistent(source)
    return attributes


def from_gguf(header: GgufHeader) -> ModelAttributes:
    """The attributes in the metadata of a GGUF file.

    Raises:
        BringupError: another architecture, RoPE scaling (which transformers' GGUF loader drops), or a size that is
            missing or illegal.
    """
    if header.architecture != SUPPORTED_ARCHITECTURE:
        raise BringupError(
            f"{header.path}: GGUF architecture {header.architecture!r} is not supported. {SUPPORTED}. Choose such a "
            "model."
        )
    scaling = header.metadata.get("llama.rope.scaling.type", "none")
    if "rope_freqs.weight" in header.tensors or scaling != "none":
        # transformers reads neither for this architecture: its model would be wrong from the first long prompt on,
        # without a word.
        raise BringupError(
            f"{header.path} has RoPE scaling, which transformers drops when it loads a GGUF of this architecture, so "
            "that it would be no reference. Give the folder of the original Hugging Face model (config.json and "
            "safetensors)."
        )
    if header.metadata.get("split.count", 1) not in (0, 1):
        raise BringupError(
            f"{header.path} is one part of a split GGUF. Join the parts with llama.cpp's `llama-gguf-split --merge` "
            "first."
        )

    def size(key: str, default: Any = None) -> Any:
        value = header.metadata.get(f"llama.{key}", default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problem = "is missing" if value is None else f"is {value!r}, no number"
            raise damaged(header.path, f"metadata entry 'llama.{key}' {problem}")
        return value

    heads, hidden = size("attention.head_count"), size("embedding_length")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, ArrayLength):
        raise damaged(header.path, "it has no vocabulary ('tokenizer.ggml.tokens')")
    attributes = ModelAttributes(
        hidden_size=hidden,
        intermediate_size=size("feed_forward_length"),
        num_hidden_layers=size("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=size("attention.head_count_kv", heads),
        head_dim=size("rope.dimension_count", hidden // max(heads, 1)),
        vocab_size=size("vocab_size", tokens.items),
        max_position_embeddings=size("context_length"),
        rms_norm_eps=size("attention.layer_norm_rms_epsilon"),
        rope_theta=size("rope.freq_base", 10000.0),
        rope_type="default",
        tie_word_embeddings="output.weight" not in header.tensors,
    )
    attributes.require_consistent(header.path)
    return attributes
