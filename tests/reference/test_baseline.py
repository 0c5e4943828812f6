from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.normalizers import Lowercase

from pytest_ttbringup.reference.baseline import baseline_checks
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel


def failed(model: BringupModel) -> set[str]:
    return {check.name for check in baseline_checks(model) if not check.passed}


def test_loaded_models_pass(tiny_model: BringupModel) -> None:
    checks = baseline_checks(tiny_model)
    assert [str(check) for check in checks if not check.passed] == []
    assert len({check.name for check in checks}) == len(checks) == 22


def test_models_from_files_pass(write_gguf: Callable[..., Path], tiny_folder: Path, tmp_path: Path) -> None:
    assert failed(load_model(str(tiny_folder))) == set()
    assert failed(load_model(str(write_gguf()))) == set()
    assert failed(load_model(str(write_gguf()), cache_dir=tmp_path / "cache")) == set()


def poke(name: str, value: float) -> Callable[[Any], None]:
    return lambda reference: reference.state_dict()[name].view(-1)[17].fill_(value)


def whole(name: str, value: float) -> Callable[[Any], None]:
    return lambda reference: reference.state_dict()[name].fill_(value)


def transposed(reference: Any) -> None:
    attention = reference.model.layers[0].self_attn
    attention.k_proj.weight = torch.nn.Parameter(attention.k_proj.weight.T.contiguous(), requires_grad=False)


def exchanged(reference: Any) -> None:
    attention = reference.model.layers[2].self_attn
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        pytest.param(poke("model.layers.1.mlp.up_proj.weight", torch.nan), "weights with nan or inf", id="nan"),
        pytest.param(poke("model.norm.weight", -torch.inf), "weights with nan or inf", id="inf"),
        pytest.param(whole("model.layers.1.mlp.up_proj.weight", 0.5), "weights that are constant", id="constant"),
        pytest.param(whole("model.norm.weight", 0), "weights that are constant", id="zero norm"),
        pytest.param(poke("model.layers.3.mlp.up_proj.weight", 1e-3), "weights unlike the source", id="one value"),
        pytest.param(exchanged, "weights unlike the source", id="key and value exchanged"),
        pytest.param(transposed, "weights of a wrong shape", id="transposed"),
        pytest.param(lambda reference: reference.half(), "weights that are not fp32", id="half"),
        pytest.param(lambda reference: reference.train(), "eval mode", id="training"),
        pytest.param(lambda reference: reference.model.layers.pop(3), "num_hidden_layers", id="lost layer"),
        pytest.param(lambda reference: reference.model.layers.pop(3), "weights missing or unknown", id="lost weights"),
        pytest.param(lambda reference: reference.tie_weights(), "head is the embedding", id="tied"),
        pytest.param(
            lambda reference: setattr(reference.model.layers[0].input_layernorm, "variance_epsilon", 1e-6),
            "rms_norm_eps",
            id="epsilon",
        ),
        pytest.param(
            lambda reference: reference.config.rope_parameters.update(rope_theta=500.0), "rope_theta", id="theta"
        ),
    ],
)
def test_a_spoilt_model_fails(spoil: Callable[[Any], object], name: str, tiny: BringupModel) -> None:
    reference = copy.deepcopy(tiny.reference)
    if name == "head is the embedding":
        reference.config.tie_word_embeddings = True
    spoil(reference)
    assert name in failed(replace(tiny, reference=reference))


def test_a_tokenizer_of_another_model_fails(tiny: BringupModel) -> None:
    larger = load_model("tiny-llama")
    larger.tokenizer.add_tokens(["France", "world"])
    assert failed(replace(tiny, tokenizer=larger.tokenizer)) == {"tokens within the vocabulary"}
    lossy = load_model("tiny-llama").tokenizer
    lossy.backend_tokenizer.normalizer = Lowercase()
    assert failed(replace(tiny, tokenizer=lossy)) == {"texts changed by encoding and decoding"}
