"""Stage 1: what must hold of a loaded reference before anything is compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from pytest_ttbringup.reference import text
from pytest_ttbringup.reference.source_weights import source_weights

if TYPE_CHECKING:
    from pytest_ttbringup.reference.model import BringupModel


@dataclass(frozen=True)
class BaselineCheck:
    """One thing that must hold: `found` must equal `expected`, both as shown to the user."""

    name: str
    expected: str
    found: str

    @property
    def passed(self) -> bool:
        return self.found == self.expected

    def __str__(self) -> str:
        return f"{self.name}: expected {self.expected}, found {self.found}"


def baseline_checks(model: BringupModel) -> list[BaselineCheck]:
    """Every check of the reference, passed or not.

    Sizes as the source's header states them are compared with those of the modules that were built; every weight with
    the shape these sizes demand, for finite and varied values; weights of the first, middle and last layer and around
    them with the source, bit for bit.
    """
    return [*_attributes(model), *_weights(model), *_tied(model), _source(model), *_tokenizer(model)]


def expected_shapes(model: BringupModel) -> dict[str, tuple[int, ...]]:
    """The shape of every weight in the reference's state dict, from the sizes the source states."""
    sizes = model.entry.attributes()
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    queries, keys = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    layer = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (sizes.vocab_size, hidden)}
    for index in range(sizes.num_hidden_layers):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (sizes.vocab_size, hidden)}


def _attributes(model: BringupModel) -> Iterator[BaselineCheck]:
    config, body = model.config, model.reference.model
    first = body.layers[0]
    found: dict[str, Any] = {
        "hidden_size": body.embed_tokens.weight.shape[1],
        "intermediate_size": first.mlp.gate_proj.weight.shape[0],
        "num_hidden_layers": len(body.layers),
        "num_attention_heads": first.self_attn.q_proj.weight.shape[0] // first.self_attn.head_dim,
        "num_key_value_heads": first.self_attn.k_proj.weight.shape[0] // first.self_attn.head_dim,
        "head_dim": first.self_attn.head_dim,
        "vocab_size": body.embed_tokens.weight.shape[0],
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": first.input_layernorm.variance_epsilon,
        "rope_theta": dict(config.rope_parameters or {}).get("rope_theta"),
        "rope_type": body.rotary_emb.rope_type,
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    for name, expected in asdict(model.entry.attributes()).items():
        yield BaselineCheck(name, str(expected), str(found[name]))
    yield BaselineCheck("eval mode", "True", str(not model.reference.training))


def _weights(model: BringupModel) -> Iterator[BaselineCheck]:
    weights, shapes = model.reference.state_dict(), expected_shapes(model)
    yield _none("weights missing or unknown", sorted(weights.keys() ^ shapes.keys()))
    yield _none(
        "weights of a wrong shape", [name for name in shapes if name in weights and weights[name].shape != shapes[name]]
    )
    yield _none(
        "weights that are not fp32", [name for name, weight in weights.items() if weight.dtype != torch.float32]
    )
    limits = {name: tuple(map(float, torch.aminmax(weight))) for name, weight in weights.items()}  # nan if any value is
    yield _none(
        "weights with nan or inf",
        [name for name, (low, high) in limits.items() if not -torch.inf < low <= high < torch.inf],
    )
    # A norm of ones is a fresh one and legal; of zeros it is not.
    constant = [name for name, (low, high) in limits.items() if low == high and (low == 0 or weights[name].dim() > 1)]
    yield _none("weights that are constant", constant)


def _tied(model: BringupModel) -> Iterator[BaselineCheck]:
    weights = model.weights()
    embedding, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    tied = model.entry.attributes().tie_word_embeddings
    yield BaselineCheck("head is the embedding", str(tied), str(head.data_ptr() == embedding.data_ptr()))


def _source(model: BringupModel) -> BaselineCheck:
    layers = {model.layer_index("first"), model.layer_index("middle"), model.layer_index("last")}
    weights = model.reference.state_dict()
    names = [name for name in weights if not name.startswith("model.layers.") or int(name.split(".")[2]) in layers]
    read = dict(source_weights(model, names))
    wrong = [name for name in names if name in read and not torch.equal(read[name], weights[name])]
    absent = [
        name
        for name in names
        if name not in read and not (name == "lm_head.weight" and model.config.tie_word_embeddings)
    ]
    return _none("weights unlike the source", absent + wrong)


def _tokenizer(model: BringupModel) -> Iterator[BaselineCheck]:
    # Not the tokenizer's length: it may know tokens that no text gives, such as one for padding, beyond the vocabulary.
    texts = [text.PASSAGE, *text.PROMPTS]
    greatest = max(max(model.encode(words) + model.chat(words)) for words in texts)
    fits = 0 <= greatest < model.entry.attributes().vocab_size
    yield BaselineCheck("tokens within the vocabulary", "True", str(fits))
    changed = [words for words in texts if model.decode(model.encode(words)).strip() != words]
    yield _none("texts changed by encoding and decoding", changed)


def _none(name: str, offenders: list[str]) -> BaselineCheck:
    return BaselineCheck(name, _few([]), _few(offenders))


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"
