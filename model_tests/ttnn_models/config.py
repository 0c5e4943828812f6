"""The shape of a model: what a Hugging Face configuration says, checked against what the modules here can build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_ttbringup.errors import BringupError

from .head_split import HeadSplit
from .parallelism import SINGLE, Parallelism

TILE_SIZE = 32
"""Rows and columns of a tile of the matrix unit."""

DECODE_BATCH = 32
"""Users in a decode step: one per row of a tile."""

MAX_HEADS = 32
"""Most query heads on one device: TT-NN's decode head operations keep a user's heads in the rows of one tile."""

ROPE_TYPES = ("default", "linear", "llama3")
ARCHITECTURES = ("llama",)


@dataclass(frozen=True)
class RopeParameters:
    """Rotary embedding as Hugging Face's `rope_parameters` describes it; what its type does not use is None."""

    theta: float
    rope_type: str = "default"
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None

    @classmethod
    def from_hf(cls, parameters: Mapping[str, Any]) -> RopeParameters:
        """Read Hugging Face's `rope_parameters`.

        Raises:
            BringupError: the scaling type is none of `ROPE_TYPES`, or a parameter of the type is missing.
        """
        rope_type = parameters.get("rope_type", "default")
        if rope_type not in ROPE_TYPES:
            raise BringupError(
                f"RoPE scaling type {rope_type!r} is not supported. Supported: {', '.join(ROPE_TYPES)}. "
                "Its tables are computed in ttnn_models/rope.py."
            )
        required = {
            "default": (),
            "linear": ("factor",),
            "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
        }[rope_type]
        for name in ("rope_theta", *required):
            if parameters.get(name) is None:
                raise BringupError(f"RoPE scaling type {rope_type!r} needs {name!r}, which rope_parameters lacks.")
        return cls(
            theta=float(parameters["rope_theta"]), rope_type=rope_type, **{name: parameters[name] for name in required}
        )

    def to_hf(self) -> dict[str, Any]:
        """Hugging Face's `rope_parameters` with the same meaning."""
        optional = {
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_max_position_embeddings,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {"rope_type": self.rope_type, "rope_theta": self.theta, **given}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a Llama-family decoder, and how it is spread over a mesh.

    `max_seq_len` is the number of positions the KV cache and the rotary tables hold. All sizes are the whole model's;
    `parallelism` and what is derived from it say what one chip has of them.

    Raises:
        BringupError: a size that the TT-NN modules can't build, with what would be allowed.
    """

    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_layers: int
    intermediate_size: int
    vocab_size: int
    rms_norm_eps: float
    tied_embeddings: bool
    max_seq_len: int
    rope: RopeParameters
    parallelism: Parallelism = SINGLE

    def __post_init__(self) -> None:
        for name in ("num_heads", "num_kv_heads", "num_layers", "vocab_size"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "must be positive")
        for name in ("hidden_size", "head_dim", "intermediate_size", "max_seq_len"):
            value = getattr(self, name)
            _require(
                value > 0 and value % TILE_SIZE == 0, name, value, f"must be a positive multiple of {TILE_SIZE}, a tile"
            )
        _require(
            self.num_heads % self.num_kv_heads == 0,
            "num_kv_heads",
            self.num_kv_heads,
            f"must divide the number of heads, {self.num_heads}",
        )
        _require(
            self.head_split.heads <= MAX_HEADS,
            "num_heads",
            self.num_heads,
            f"can't be more than {MAX_HEADS} on one device; more heads need tensor parallelism",
        )
        # The embedding's columns are dealt out in any case, and a fractured residual consists of tiles.
        self.parallelism.split("hidden_size", self.hidden_size, TILE_SIZE if self.parallelism.fractured else 1)
        _require(self.rms_norm_eps > 0, "rms_norm_eps", self.rms_norm_eps, "must be positive")
        _require(self.rope.theta > 0, "rope.theta", self.rope.theta, "must be positive")

    @classmethod
    def from_hf(
        cls, hf_config: Any, *, max_seq_len: int | None = None, parallelism: Parallelism = SINGLE
    ) -> ModelConfig:
        """Read a `transformers.LlamaConfig`.

        Args:
            hf_config: the Hugging Face configuration.
            max_seq_len: positions to make room for, at most the checkpoint's `max_position_embeddings`, the default.
            parallelism: how the model is spread over the mesh.

        Raises:
            BringupError: an architecture, option or size that is not built here, or can't be spread so.
        """
        _require(
            hf_config.model_type in ARCHITECTURES,
            "model_type",
            hf_config.model_type,
            f"is not an architecture built here; those are: {', '.join(ARCHITECTURES)}",
        )
        _require(hf_config.hidden_act == "silu", "hidden_act", hf_config.hidden_act, "must be 'silu'")
        for name in ("attention_bias", "mlp_bias"):
            _require(not getattr(hf_config, name), name, True, "must be False: no bias is added here")
        longest = hf_config.max_position_embeddings
        if max_seq_len is not None:
            _require(
                max_seq_len <= longest, "max_seq_len", max_seq_len, f"can't exceed the checkpoint's {longest} positions"
            )
        return cls(
            hidden_size=hf_config.hidden_size,
            num_heads=hf_config.num_attention_heads,
            num_kv_heads=hf_config.num_key_value_heads,
            head_dim=hf_config.head_dim,
            num_layers=hf_config.num_hidden_layers,
            intermediate_size=hf_config.intermediate_size,
            vocab_size=hf_config.vocab_size,
            rms_norm_eps=hf_config.rms_norm_eps,
            tied_embeddings=bool(hf_config.tie_word_embeddings),
            max_seq_len=longest if max_seq_len is None else max_seq_len,
            rope=RopeParameters.from_hf(hf_config.rope_parameters),
            parallelism=parallelism,
        )

    @property
    def users(self) -> int:
        """Users of a decode step, of all instances."""
        return DECODE_BATCH * self.parallelism.data

    @cached_property
    def head_split(self) -> HeadSplit:
        """Which heads each chip has."""
        return HeadSplit.of(self.num_heads, self.num_kv_heads, self.parallelism.tensor, pad=self.parallelism.pad_heads)

    @property
    def qkv_size(self) -> int:
        """Columns of a chip's fused QKV projection: (H + 2K)h on a single chip."""
        return (self.head_split.heads + 2 * self.head_split.slots) * self.head_dim


def _require(condition: bool, name: str, value: object, reason: str) -> None:
    if not condition:
        raise BringupError(f"Model configuration: {name} = {value!r} {reason}.")
