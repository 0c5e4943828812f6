"""How many values a model's weights and its KV cache hold, counted on transformers' own modules without memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.loading import LOAD_ERRORS


@dataclass(frozen=True)
class ModelSize:
    """What decides how much memory a model takes.

    Attributes:
        name: as people call it.
        parameters: values of all weights, as published; tied embeddings count once.
        matrices: values of weights that matmuls read, the LM head included: what a precision choice shrinks.
        tables: values of embedding tables.
        vectors: values of norm weights and biases.
        layers, heads, kv_heads, head_dim: of the attention.
        hidden, widest: columns of the residual stream, and of the widest projection in a layer.
        max_context: positions the model was trained for.
        notes: what a reader of the counts must know: values that the configuration does not state, parts not counted.
    """

    name: str
    parameters: int
    matrices: int
    tables: int
    vectors: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    widest: int
    max_context: int
    notes: tuple[str, ...] = ()

    @property
    def cache_values_per_token(self) -> int:
        """Values that K and V of all layers keep for one position of one user: 2 * layers * kv_heads * head_dim.

        Layers with a sliding window count in full: TT-NN's caches hold every position.
        """
        return 2 * self.layers * self.kv_heads * self.head_dim


def size_of(config: Any, name: str) -> ModelSize:
    """Count what a model of this `transformers.PreTrainedConfig` holds.

    Raises:
        BringupError: transformers has no causal language model of this configuration, or it does not state what the KV
            cache holds, or states what no model has; the message says what could not be read.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    text = config.get_text_config()
    if text.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise BringupError(
            f"{name}: transformers has no causal language model of model_type {text.model_type!r}, so what decodes, "
            "and what its KV cache holds, can't be read. A plan needs a decoder that AutoModelForCausalLM knows."
        )
    if text.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(text, "is_decoder", False):
        raise BringupError(
            f"{name}: model_type {text.model_type!r} is an encoder, which has no KV cache; a plan is of models that "
            'decode. If this one does, its configuration must state "is_decoder": true.'
        )
    layers, heads, kv_heads = _attention(text, name)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
    except (*LOAD_ERRORS, ArithmeticError) as error:
        raise BringupError(
            f"{name}: transformers can't build the model its configuration (model_type {text.model_type!r}) states: "
            f"{type(error).__name__}: {error}. So its weights can't be counted. Copy the model's own config.json again."
        ) from error
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    counted = {"matrices": 0, "tables": 0, "vectors": 0}
    widest = 0
    for weight in model.parameters():
        if id(weight) in tables:
            counted["tables"] += weight.numel()
        elif weight.dim() > 1:
            counted["matrices"] += weight.numel()
        else:
            counted["vectors"] += weight.numel()
    parameters = sum(counted.values())
    head = model.get_output_embeddings()
    if head is not None and id(head.weight) in tables:
        counted["matrices"] += head.weight.numel()  # on the device the tied table is there twice: as rows and as tiles
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            widest = max(widest, module.out_features)
    return ModelSize(
        name=name,
        parameters=parameters,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=getattr(text, "head_dim", None) or _stated(text, name, "hidden_size") // heads,
        hidden=_stated(text, name, "hidden_size"),
        widest=max(widest, int(getattr(text, "intermediate_size", 0) or 0)),
        max_context=_stated(text, name, "max_position_embeddings"),
        notes=_notes(config, text),
        **counted,
    )


_MOST_LAYERS = 1000
"""Models have up to about 130; each layer that is counted takes some milliseconds."""


def _attention(config: Any, name: str) -> tuple[int, int, int]:
    """Layers, heads and KV heads."""
    layers, heads = (_stated(config, name, key) for key in ("num_hidden_layers", "num_attention_heads"))
    if layers > _MOST_LAYERS:
        raise BringupError(
            f"{name}: its configuration states num_hidden_layers = {layers}; a plan counts up to {_MOST_LAYERS}. "
            "Correct it, or copy the model's own config.json again."
        )
    if rank := getattr(config, "kv_lora_rank", None):
        raise BringupError(
            f"{name}: its attention is latent (kv_lora_rank = {rank}), and what such a KV cache holds is not counted. "
            "Plan a model whose cache has keys and values of each KV head."
        )
    kv_heads = _kv_heads(config, name)
    if heads % kv_heads:
        raise BringupError(
            f"{name}: its configuration states {heads} attention heads and {kv_heads} KV heads, and each KV head must "
            "serve the same number of heads. Correct it, or copy the model's own config.json again."
        )
    return layers, heads, kv_heads


SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "intermediate_size",
    "max_position_embeddings",
)


def _notes(config: Any, text: Any) -> tuple[str, ...]:
    notes = []
    if text is not config:
        others = [key for key in type(config).sub_configs if getattr(config, key, None) not in (None, text)]
        notes.append(f"the language model alone; not counted: {', '.join(others) or 'the rest'}")
    stated = getattr(config, STATED, None)
    if stated is not None:
        names = {text.attribute_map.get(key, key): key for key in SIZES if hasattr(text, key)}
        absent = [key for own, key in names.items() if own not in stated and key not in stated]
        if absent:
            values = ", ".join(f"{key} = {getattr(text, key)}" for key in absent)
            notes.append(f"not in the configuration, so transformers' own for {text.model_type!r}: {values}")
    return tuple(notes)


STATED = "_ttbringup_stated"
"""The attribute of a configuration that was read from JSON with the keys which the JSON has of the language model."""


def _kv_heads(config: Any, name: str) -> int:
    if config.model_type == "falcon":  # spells it otherwise, and means it only in its later form
        if config.new_decoder_architecture:
            return int(config.num_kv_heads)
        return 1 if config.multi_query else int(config.num_attention_heads)
    absent = getattr(config, "num_key_value_heads", None) is None
    return _stated(config, name, "num_attention_heads" if absent else "num_key_value_heads")


def _stated(config: Any, name: str, key: str) -> int:
    value = getattr(config, key, None)
    if not isinstance(value, int) or value <= 0:
        raise BringupError(
            f"{name}: its configuration (model_type {config.model_type!r}) states {key} = {value!r}, and the KV cache "
            "can't be counted without it. Plan a model whose attention every layer has and whose config.json states it."
        )
    return value
