"""Precision as data: presets, overrides for layers, and what reaches the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import ttnn
from ttnn_models.config import ModelConfig
from ttnn_models.model import CausalLM
from ttnn_models.model_precision import LayerOverride, ModelPrecision
from ttnn_models.precision import (
    FORMATS,
    OF_THE_MODEL,
    SETTINGS,
    TENSORS,
    PrecisionConfig,
    format_name,
    legal_formats,
)
from ttnn_models.precision_file import parse_precision
from ttnn_models.presets import PRESETS

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import DEFAULT_PRECISION as DEFAULT_NAME
from pytest_ttbringup.option_table import PRESETS as PRESET_NAMES
from pytest_ttbringup.reference.model import BringupModel


def test_the_presets_are_those_of_the_option() -> None:
    assert tuple(PRESETS) == PRESET_NAMES
    assert PRESETS[DEFAULT_NAME] == PrecisionConfig()


def test_presets_differ_as_their_source_says() -> None:
    accuracy, default, performance = (PRESETS[name] for name in PRESET_NAMES)
    differing = {name for name in SETTINGS if getattr(performance, name) != getattr(default, name)}
    matmuls = {"qkv_math", "attention_output_math", "down_math", "lm_head_math"}
    assert differing == {"gate_up_weight", "gate_up_math", "partial_sums"} | matmuls
    assert {getattr(performance, name).fidelity.name for name in matmuls} == {"HiFi2"}
    assert format_name(performance.gate_up_weight) == "bfloat4_b"
    assert performance.gate_up_math.fidelity.name == "LoFi"
    differing = {name for name in TENSORS if getattr(accuracy, name) != getattr(default, name)}
    assert differing == {"qkv_weight", "attention_output_weight", "kv_cache"}
    assert {format_name(getattr(accuracy, name)) for name in differing} == {"bfloat16"}


def test_formats_that_ttnn_does_not_take_are_refused() -> None:
    with pytest.raises(BringupError, match="kv_cache = bfloat4_b: TT-NN takes bfloat16, bfloat8_b there"):
        PrecisionConfig(kv_cache=FORMATS["bfloat4_b"])
    with pytest.raises(BringupError, match="embedding_table = bfloat8_b: TT-NN takes bfloat16 there"):
        PrecisionConfig(embedding_table=FORMATS["bfloat8_b"])


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ((0,), {0}),
        (("first",), {0}),
        (("last",), {3}),
        (("1-2",), {1, 2}),
        ((3, "first"), {0, 3}),
        (("0-3",), {0, 1, 2, 3}),
    ],
    ids=str,
)
def test_which_layers_are_meant(layers: tuple[int | str, ...], chosen: set[int]) -> None:
    override = LayerOverride(layers, {"gate_up_weight": FORMATS["bfloat4_b"]})
    precision = ModelPrecision(PrecisionConfig(), (override,))
    names = [format_name(precision.of_layer(index, 4).gate_up_weight) for index in range(4)]
    assert {index for index, name in enumerate(names) if name == "bfloat4_b"} == chosen


def test_the_later_override_wins_and_math_changes_in_part() -> None:
    precision = parse_precision(
        """
        [[layers]]
        layers = ["0-3"]
        down_weight = "bfloat4_b"
        down_math = { fp32_accumulation = false }
        [[layers]]
        layers = [2]
        down_weight = "bfloat16"
        """,
        "test",
    )
    default, first, third = PrecisionConfig(), precision.of_layer(0, 4), precision.of_layer(2, 4)
    assert first.down_math == replace(default.down_math, fp32_accumulation=False)
    assert [format_name(it.down_weight) for it in (first, third)] == ["bfloat4_b", "bfloat16"]
    assert third.down_math == first.down_math
    assert precision.model == default


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((), "at least one layer"),
        (("4",), "'4' chooses none"),
        ((-1,), "-1 chooses none"),
        ((True,), "True chooses none"),
        (("middle",), "'middle' chooses none"),
        (("3-1",), "write 1-3"),
    ],
    ids=str,
)
def test_what_chooses_no_layer(layers: tuple[int | str, ...], said: str) -> None:
    with pytest.raises(BringupError, match=said):
        LayerOverride(layers, {})


@pytest.mark.parametrize("layer", [4, "2-4"])
def test_layers_that_a_model_does_not_have(layer: int | str) -> None:
    precision = ModelPrecision(PrecisionConfig(), (LayerOverride((layer,), {}, "my.toml: line 3: "),))
    with pytest.raises(BringupError, match=r"my.toml: line 3: layer 4 of tiny: it has 4 layers, 0 to 3"):
        precision.check(4, "tiny")
    precision.check(5, "larger")


@pytest.mark.parametrize("setting", sorted(OF_THE_MODEL))
def test_what_no_layer_has(setting: str) -> None:
    with pytest.raises(BringupError, match=f"{setting} belongs to the whole model"):
        LayerOverride((0,), {setting: None})


def test_overrides_reach_the_tensors_of_their_layers(model: BringupModel, mesh_device: ttnn.MeshDevice) -> None:
    """Read on the device: the formats of weights and KV caches, and of no other layer's."""
    precision = parse_precision(
        """
        preset = "performance"
        lm_head_weight = "bfloat16"
        [[layers]]
        layers = ["first", 2]
        gate_up_weight = "bfloat16"
        qkv_weight = "bfloat4_b"
        kv_cache = "bfloat16"
        """,
        "test",
    )
    config = ModelConfig.from_hf(model.config, max_seq_len=32)
    built = CausalLM.from_weights(mesh_device, config, model.reference.state_dict(), precision=precision)
    layers, caches = built.decoder.layers, built.new_kv_caches()
    found = [
        [format_name(it.dtype) for it in (layer.mlp.gate, layer.mlp.up, layer.attention.qkv, cache.keys, cache.values)]
        for layer, cache in zip(layers, caches, strict=True)
    ]
    chosen = ["bfloat16", "bfloat16", "bfloat4_b", "bfloat16", "bfloat16"]
    others = ["bfloat4_b", "bfloat4_b", "bfloat8_b", "bfloat8_b", "bfloat8_b"]
    assert found == [chosen, others, chosen, others]
    assert {format_name(layer.mlp.down.dtype) for layer in layers} == {"bfloat8_b"}
    assert format_name(built.lm_head.weight.dtype) == "bfloat16"


def test_a_model_refuses_overrides_of_layers_it_does_not_have(
    model: BringupModel, mesh_device: ttnn.MeshDevice
) -> None:
    config = ModelConfig.from_hf(model.config, max_seq_len=32)
    precision = ModelPrecision(PrecisionConfig(), (LayerOverride((4,), {}),))
    with pytest.raises(BringupError, match="layer 4 of this model"):
        CausalLM.from_weights(mesh_device, config, model.reference.state_dict(), precision=precision)


ATTRIBUTES = {
    "qkv_weight": lambda model: model.decoder.layers[1].attention.qkv,
    "attention_output_weight": lambda model: model.decoder.layers[1].attention.output,
    "gate_up_weight": lambda model: model.decoder.layers[1].mlp.up,
    "down_weight": lambda model: model.decoder.layers[1].mlp.down,
    "lm_head_weight": lambda model: model.lm_head.weight,
    "norm_weight": lambda model: model.decoder.norm.weight,
}


@pytest.mark.parametrize("setting", ATTRIBUTES)
def test_every_legal_format_of_a_weight_is_taken(model: BringupModel, mesh_device: Any, setting: str) -> None:
    from ttnn_models.generator import Generator

    config = ModelConfig.from_hf(model.config, max_seq_len=32)
    weights = model.reference.state_dict()
    for name in legal_formats(setting):
        precision = PrecisionConfig(**{setting: FORMATS[name]})
        built = CausalLM.from_weights(mesh_device, config, weights, precision=precision)
        assert format_name(ATTRIBUTES[setting](built).dtype) == name
        generator = Generator(built)
        assert len(generator.forced_logits([[1, 2, 3]], prefilled=[2])[0]) == 3
