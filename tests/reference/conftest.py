"""Models for the tests of the reference: tiny ones, also as a GGUF file and as a folder, and SmolLM2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from pytest_ttbringup.options import settings_of
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.reference.source_weights import gguf_name


def same_weights(one: BringupModel, other: BringupModel) -> bool:
    left, right = one.reference.state_dict(), other.reference.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Ops of the tiny models take less time than waking a second thread, let alone one whose core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny() -> BringupModel:
    return load_model("tiny-llama")


@pytest.fixture(scope="session")
def tiny_scaled() -> BringupModel:
    return load_model("tiny-llama-scaled")


@pytest.fixture(params=["tiny-llama", "tiny-llama-scaled"])
def tiny_model(request: pytest.FixtureRequest) -> BringupModel:
    return request.getfixturevalue({"tiny-llama": "tiny", "tiny-llama-scaled": "tiny_scaled"}[request.param])


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> BringupModel:
    return load_model("smollm2-135m", cache_dir=settings_of(pytestconfig).cache_dir)


@pytest.fixture
def tiny_folder(tiny: BringupModel, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny folder"
    tiny.reference.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_gguf(tiny: BringupModel, tmp_path: Path) -> Callable[..., Path]:
    """Writes tiny-llama as a GGUF file; `edit(writer, weights)` may add metadata and change the weights first."""

    def write(
        edit: Callable[[gguf.GGUFWriter, dict[str, np.ndarray]], None] = lambda _writer, _weights: None,
        architecture: str = "llama",
    ) -> Path:
        path = tmp_path / "tiny.gguf"
        config = tiny.config
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        _add_tokenizer(writer, tiny)
        weights = {gguf_name(name): _paired(name, weight) for name, weight in tiny.reference.state_dict().items()}
        edit(writer, weights)
        for name, weight in weights.items():
            writer.add_tensor(name, weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _add_tokenizer(writer: gguf.GGUFWriter, model: BringupModel) -> None:
    backend = model.tokenizer.backend_tokenizer
    vocabulary = backend.get_vocab()
    content = json.loads(backend.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([3, 3] + [1] * (len(vocabulary) - 2))
    writer.add_token_merges([" ".join(pair) for pair in content["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def _paired(name: str, weight: torch.Tensor) -> np.ndarray:
    """Query and key rows in llama.cpp's order, where a rotated pair is neighbours: of 32 rows of a head, 0 16 1 17 …"""
    if name.split(".")[-2] in ("q_proj", "k_proj"):
        halves = weight.reshape(-1, 2, 16, weight.shape[1])
        weight = halves.transpose(1, 2).reshape(weight.shape)
    return weight.contiguous().numpy()
