"""What a model's configuration may say, and what it is told otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig
from ttnn_models.config import ModelConfig, RopeParameters

from pytest_ttbringup.errors import BringupError

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def hf_config(**changes: Any) -> LlamaConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 256,
        "vocab_size": 512,
        "num_hidden_layers": 2,
        "max_position_embeddings": 256,
    }
    return LlamaConfig(**{**sizes, **changes})


def test_sizes_are_read() -> None:
    config = ModelConfig.from_hf(hf_config(tie_word_embeddings=True, rms_norm_eps=1e-5))
    assert (config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim) == (128, 4, 2, 32)
    assert (config.num_layers, config.intermediate_size, config.vocab_size) == (2, 256, 512)
    assert (config.rms_norm_eps, config.tied_embeddings, config.max_seq_len) == (1e-5, True, 256)
    assert config.qkv_size == (4 + 2 * 2) * 32
    assert config.rope == RopeParameters(theta=10000.0)


def test_max_seq_len_can_be_less_than_the_checkpoints() -> None:
    assert ModelConfig.from_hf(hf_config(), max_seq_len=64).max_seq_len == 64
    with pytest.raises(BringupError, match=r"max_seq_len = 288 can't exceed the checkpoint's 256 positions"):
        ModelConfig.from_hf(hf_config(), max_seq_len=288)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 144}, r"hidden_size = 144 must be a positive multiple of 32"),
        ({"head_dim": 48}, r"head_dim = 48 must be a positive multiple of 32"),
        ({"intermediate_size": 100}, r"intermediate_size = 100 must be"),
        ({"max_position_embeddings": 100}, r"max_seq_len = 100 must be"),
        ({"num_key_value_heads": 3}, r"num_kv_heads = 3 must divide the number of heads, 4"),
        ({"num_key_value_heads": 0}, r"num_kv_heads = 0 must be positive"),
        ({"num_attention_heads": 64}, r"num_heads = 64 can't be more than 32 on one device"),
        ({"num_hidden_layers": 0}, r"num_layers = 0 must be positive"),
        ({"rms_norm_eps": 0.0}, r"rms_norm_eps = 0.0 must be positive"),
        ({"hidden_act": "gelu"}, r"hidden_act = 'gelu' must be 'silu'"),
        ({"attention_bias": True}, r"attention_bias = True must be False"),
        ({"mlp_bias": True}, r"mlp_bias = True must be False"),
    ],
    ids=lambda value: (
        "-".join(f"{name} {changed}" for name, changed in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_what_can_not_be_built_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BringupError, match=message):
        ModelConfig.from_hf(hf_config(**changes))


def test_other_architectures_are_refused() -> None:
    from transformers import GPT2Config

    with pytest.raises(BringupError, match=r"model_type = 'gpt2' is not an architecture built here; those are: llama"):
        ModelConfig.from_hf(GPT2Config())


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "default", "rope_theta": 10000.0},
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        LLAMA3,
    ],
    ids=lambda parameters: parameters["rope_type"],
)
def test_rope_parameters_survive_the_way_there_and_back(parameters: dict[str, Any]) -> None:
    assert RopeParameters.from_hf(parameters).to_hf() == parameters


def test_an_unknown_rope_scaling_is_named() -> None:
    with pytest.raises(BringupError, match=r"'yarn' is not supported. Supported: default, linear, llama3"):
        RopeParameters.from_hf({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0})


@pytest.mark.parametrize("name", [name for name in LLAMA3 if name != "rope_type"])
def test_a_missing_rope_parameter_is_named(name: str) -> None:
    with pytest.raises(BringupError, match=f"'llama3' needs '{name}'"):
        RopeParameters.from_hf({key: value for key, value in LLAMA3.items() if key != name})
