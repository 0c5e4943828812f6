"""Broken and unsupported Hugging Face folders: one clear error each, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import catalog


def refused(folder: Path) -> str:
    with pytest.raises(BringupError) as refusal:
        catalog.check(str(folder))
    assert str(folder) in str(refusal.value)
    return str(refusal.value)


def configured(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return edit


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names]


def only_gguf(folder: Path) -> None:
    without("config.json")(folder)
    (folder / "model.gguf").touch()


def pickled(folder: Path) -> None:
    without("model.safetensors")(folder)
    (folder / "pytorch_model.bin").touch()


def sharded(folder: Path) -> None:
    without("model.safetensors")(folder)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def with_one_byte_more(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"0")


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        pytest.param(without("config.json"), "is no Hugging Face model: it has no config.json", id="no config"),
        pytest.param(only_gguf, "has no config.json, but model.gguf. Give the path of that file", id="only a GGUF"),
        pytest.param(cut("config.json", 100), "it is not JSON", id="cut config"),
        pytest.param(lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object", id="list"),
        pytest.param(lambda folder: (folder / "config.json").write_bytes(b"\xff"), "it is not JSON", id="no text"),
        pytest.param(configured(model_type="mistral"), "model_type 'mistral' is not supported", id="architecture"),
        pytest.param(configured(model_type=None), "model_type None is not supported", id="no architecture"),
        pytest.param(configured(attention_bias=True), "attention_bias True is not supported", id="bias"),
        pytest.param(configured(hidden_act="gelu"), "hidden_act 'gelu' is not supported", id="activation"),
        pytest.param(configured(quantization_config={"bits": 4}), "quantization_config", id="quantized"),
        pytest.param(configured(hidden_size=None), "does not state hidden_size", id="no size"),
        pytest.param(configured(num_hidden_layers="four"), "a size that is no number", id="word for a size"),
        pytest.param(configured(num_key_value_heads=3), "can't share 3 KV heads evenly", id="heads"),
        pytest.param(configured(head_dim=31), "head_dim is 31; rotary embeddings need an even one", id="odd head"),
        pytest.param(without("tokenizer.json"), "has no tokenizer", id="no tokenizer"),
        pytest.param(without("model.safetensors"), "has no model.safetensors", id="no weights"),
        pytest.param(pickled, "is a pickle, which can run code", id="pickle"),
        pytest.param(sharded, "lacks 2 of its 2 weight files, the first 'model-1.safetensors'", id="shards"),
        pytest.param(cut("model.safetensors", 0), "the file has 0", id="empty weights"),
        pytest.param(cut("model.safetensors", 1000), "the file has 1000", id="cut header"),
        pytest.param(cut("model.safetensors", 100_000), "but the file has 100000 bytes", id="cut weights"),
        pytest.param(with_one_byte_more, "its header describes", id="long weights"),
    ],
)
def test_a_folder_that_can_not_be_used(edit: Callable[[Path], None], part: str, tiny_folder: Path) -> None:
    catalog.check(str(tiny_folder))
    edit(tiny_folder)
    assert part in refused(tiny_folder)


def test_the_older_form_of_rope_settings(tiny_folder: Path) -> None:
    scaling = {"type": "linear", "factor": 2.0}
    configured(rope_parameters=None, rope_theta=500.0, rope_scaling=scaling)(tiny_folder)
    sizes = catalog.resolve(str(tiny_folder)).attributes()
    assert (sizes.rope_theta, sizes.rope_type) == (500.0, "linear")
