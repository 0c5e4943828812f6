"""The plan against published sizes, the method's own examples, and TT-NN's allocator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from pytest_ttbringup.cli import main
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.footprint import BYTES_PER_VALUE, Workload, footprint
from pytest_ttbringup.planning.model_size import ModelSize, size_of
from pytest_ttbringup.planning.plan import GIB, plan
from pytest_ttbringup.planning.sources import config_of
from pytest_ttbringup.targets import system_of


def size(model: str) -> ModelSize:
    name, config = config_of(model)
    return size_of(config, name)


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("llama-3.2-1b", 1.236),
        ("llama-3.2-3b", 3.213),
        ("llama-3.1-8b", 8.030),
        ("llama-3.1-70b", 70.554),
        ("mistral-7b", 7.248),
        ("mixtral-8x7b", 46.703),
        ("qwen2.5-7b", 7.616),
        ("qwen2.5-72b", 72.706),
        ("smollm2-135m", 0.1345),
    ],
)
def test_parameters_as_published(model: str, billions: float) -> None:
    """By the model cards on the Hugging Face Hub (the sizes of their safetensors)."""
    assert size(model).parameters / 1e9 == pytest.approx(billions, abs=0.0006)


def test_kv_cache_by_hand() -> None:
    assert size("llama-3.1-8b").cache_values_per_token == 2 * 32 * 8 * 128
    assert size("falcon-40b").cache_values_per_token == 2 * 60 * 8 * 64


def test_the_widest_projection_whatever_the_configuration_calls_it() -> None:
    assert size("llama-3.1-8b").widest == 14336
    assert size("falcon-40b").widest == 4 * 8192  # of dense_h_to_4h


BY_HAND = ModelSize(
    "by hand",
    parameters=0,
    matrices=901,
    tables=101,
    vectors=7,
    layers=5,
    heads=6,
    kv_heads=3,
    head_dim=64,
    hidden=384,
    widest=1001,
    max_context=4096,
)


def test_a_footprint_by_hand() -> None:
    found = footprint(BY_HAND, Workload("bfloat4_b", "bfloat16", batch=8, context=33), 2)
    assert found.weights == round(451 * 0.5625 + 51 * 2 + 7 * 2)
    assert found.cache == 8 * 64 * (2 * 5 * 2 * 64) * 2  # 33 positions take two tiles, 3 KV heads two on each chip
    assert found.activations == 33 * (4 * 384 + 2 * 501) * 2
    assert found.total == found.weights + found.cache + found.activations + 30_000_000
    assert footprint(BY_HAND, Workload(batch=1, context=4096), 1).activations == 1024 * (4 * 384 + 2 * 1001) * 2


def test_what_is_left_is_given_in_tokens() -> None:
    found = plan(BY_HAND, Workload(batch=8, context=64), system_of("n150"))
    assert found.left == 12 * GIB - found.needed.total
    assert found.more_tokens == int(found.left / (2 * 5 * 3 * 64 * 1.0625))
    full = plan(replace(BY_HAND, matrices=13 * 10**9), Workload(batch=8, context=64), system_of("n150"))
    assert not full.fits
    assert (full.copies, full.more_tokens) == (0, 0)


class TestTheMethodsExamples:
    def test_an_n150_holds_about_12_billion_parameters(self) -> None:
        work = Workload(batch=1, context=32)
        model = replace(size("tiny-llama"), matrices=12_000_000_000, tables=0, vectors=0)
        assert plan(model, work, system_of("n150")).fits
        assert not plan(replace(model, matrices=12_200_000_000), work, system_of("n150")).fits

    def test_llama_8b_fits_an_n150_so_four_of_them_run_four_copies(self) -> None:
        model = size("llama-3.1-8b")
        assert plan(model, Workload(), system_of("n150")).copies == 1
        assert plan(model, Workload(), system_of("n150"), machines=4).copies == 4

    def test_falcon_40b_needs_two_n300_so_a_quietbox_runs_two_copies(self) -> None:
        model = size("falcon-40b")
        assert not plan(model, Workload(), system_of("n300")).fits
        assert not plan(model, Workload(), system_of("n300"), machines=4).fits
        found = plan(model, Workload(), system_of("quietbox"))
        assert (found.tensor_parallel, found.copies) == (4, 2)
        assert "4 chips in tensor parallel, so 2 copies" in found.sentence

    def test_70b_takes_a_whole_t3000_and_a_fourth_of_a_galaxy(self) -> None:
        model = size("llama-3.1-70b")
        assert plan(model, Workload(), system_of("t3000")).copies == 1
        assert plan(model, Workload(), system_of("galaxy")).copies == 4
        assert not plan(model, Workload(weights="bfloat16"), system_of("t3000")).fits


@given(
    weights=st.sampled_from(sorted(BYTES_PER_VALUE)),
    batch=st.integers(1, 64),
    context=st.integers(1, 4096),
    degree=st.sampled_from([1, 2, 4, 8]),
)
def test_footprints_grow_with_the_work_and_shrink_with_the_chips(
    weights: str, batch: int, context: int, degree: int
) -> None:
    model = ModelSize("m", 10**9, 9 * 10**8, 10**8, 10**5, 16, 32, 8, 128, 2048, 8192, 4096)
    work = Workload(weights, "bfloat8_b", batch, context)
    one, more = footprint(model, work, degree), footprint(model, replace(work, batch=batch + 1), degree)
    assert more.cache > one.cache
    assert footprint(model, work, 2 * degree).weights < one.weights
    assert footprint(model, work, 2 * degree).cache <= one.cache
    assert footprint(model, replace(work, context=context + 32), degree).cache > one.cache


@pytest.mark.parametrize(
    "model",
    [
        "tiny-llama",
        "tiny-llama-scaled",
        "smollm2-135m",
        pytest.param("llama-3.2-1b", marks=pytest.mark.slow),  # 5 GiB of zeros on the host
    ],
)
def test_the_allocator_agrees(model: str, mesh_device: ttnn.MeshDevice) -> None:
    """Every weight, and the KV cache, as the ladder's modules hold them; nothing is computed."""
    name, config = config_of(model)
    counted = size_of(config, name)
    work = Workload(batch=8, context=128)
    needed = footprint(counted, work, 1)
    with torch.device("meta"):
        reference = AutoModelForCausalLM.from_config(config)
    before = allocated(mesh_device)
    held = []
    for key, weight in reference.state_dict().items():
        if weight.dim() == 1:
            held.append(empty(mesh_device, [1, 1, weight.numel() // 32, 32], ttnn.bfloat16, ttnn.ROW_MAJOR_LAYOUT))
        elif "embed_tokens" in key:
            held.append(empty(mesh_device, list(weight.shape), ttnn.bfloat16, ttnn.ROW_MAJOR_LAYOUT))
        else:  # a tied LM head among them: state_dict lists it beside the table
            held.append(empty(mesh_device, list(weight.shape), ttnn.bfloat8_b, ttnn.TILE_LAYOUT))
    weights = allocated(mesh_device) - before
    shape = [work.batch, counted.kv_heads, work.context, counted.head_dim]
    held += [empty(mesh_device, shape, ttnn.bfloat8_b, ttnn.TILE_LAYOUT) for _ in range(2 * counted.layers)]
    cache = allocated(mesh_device) - before - weights
    # Buffers are spread over 12 banks by whole pages, so the last row of pages of each may be partly empty.
    assert weights == pytest.approx(needed.weights, rel=0.02, abs=len(held) * 12 * 2048)
    assert cache == pytest.approx(needed.cache, rel=0.02, abs=len(held) * 12 * 1088)
    assert weights > needed.weights * 0.999


def empty(mesh: ttnn.MeshDevice, shape: list[int], dtype: ttnn.DataType, layout: ttnn.Layout) -> ttnn.Tensor:
    return ttnn.empty(shape, dtype=dtype, layout=layout, device=mesh, memory_config=ttnn.DRAM_MEMORY_CONFIG)


def allocated(mesh: ttnn.MeshDevice) -> int:
    view = ttnn.get_memory_view(mesh, ttnn.BufferType.DRAM)
    return int(view.total_bytes_allocated_per_bank * view.num_banks)


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "llama-3.1-8b"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("llama-3.1-8b: 8.03 billion parameters, 32 layers, 32 heads, 8 KV heads of 128\n")
    assert "12 GiB hold 12.1" in said
    assert "4xn150     fits one 12 GiB chip, so 4 copies (data parallel)" in said
    assert main(["plan", "falcon-40b", "--tt-system=n300"]) == 0
    assert "n300  does not fit: each of 2 chips of 12 GiB would hold" in capsys.readouterr().out


def test_heads_that_do_not_divide_are_padded() -> None:
    model = replace(size("smollm2-135m"), matrices=20_000_000_000)
    found = plan(model, Workload(), system_of("t3000"))
    assert (found.tensor_parallel, found.padded_heads) == (2, 10)
    assert found.sentence.endswith("; 9 heads padded to 10")
    assert found.needed.cache >= footprint(model, Workload(), 1).cache // 2 * 1.3  # 3 KV heads: 2 on each of 2 chips


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["llama-3.1-8"], "Did you mean 'llama-3.1-8b'"),
        (["llama-3.1-8b", "--weights=int4"], "--weights=int4: no format of TT-NN. Choose one of float32, bfloat16"),
        (["llama-3.1-8b", "--batch=0"], "--batch=0: there must be at least one"),
        (["llama-3.1-8b", "--context=131073"], "has 131072 positions"),
        (["llama-3.1-8b", "--tt-system=n151"], "Did you mean 'n150'"),
        (["llama-3.1-8b", "--tt-system="], "no system is called ''"),
        (["no/such"], "neither a folder here nor a model in the local Hugging Face cache"),
    ],
)
def test_bad_input(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            '{"model_type": "llamma"}',
            "'llamma', which transformers .* does not know.*Did you mean 'llama'",
        ),
        ('{"hidden_size": 8}', "model_type is None"),
        ('{"model_type": "vit"}', "no causal language model of model_type 'vit'"),
        ('{"model_type": "mamba"}', "states num_attention_heads = None, and the KV cache"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "wide"),
        ("{", "is not JSON"),
        ('{"model_type": ["llama"]}', r"model_type is \['llama'\]"),
        ('{"model_type": "llama", "num_attention_heads": 0}', "num_attention_heads is 0, and must be a whole number"),
        ('{"model_type": "llama", "vocab_size": -5}', "vocab_size is -5"),
        ('{"model_type": "gemma3", "text_config": {"num_key_value_heads": 0}}', "num_key_value_heads is 0"),
        ('{"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 7}', "32 .* heads and 7 KV heads"),
        ('{"model_type": "llama", "num_hidden_layers": 100000}', "num_hidden_layers = 100000; .* up to 1000"),
        ('{"model_type": "gpt2", "n_head": 0}', "num_attention_heads = 0"),
        ('{"model_type": "bert"}', "'bert' is an encoder"),
        ('{"model_type": "deepseek_v3"}', "latent"),
    ],
)
def test_what_could_not_be_read(config: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(config)
    with pytest.raises(BringupError, match=said):
        size(str(file))


def test_a_file_and_a_folder_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2", "num_hidden_layers": 2, "vocab_size": 1000}')
    assert size(str(folder)) == size(str(folder / "config.json"))
    assert size(str(folder)).name == "model"


def test_what_a_configuration_does_not_state_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    stated = '"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 512'
    file.write_text(f'{{"model_type": "llama", "num_key_value_heads": 4, "max_position_embeddings": 64, {stated}}}')
    assert main(["plan", str(file), "--tt-system=n150"]) == 0
    said = "note      not in the configuration, so transformers' own for 'llama': num_hidden_layers = 32\n"
    assert said in capsys.readouterr().out
    assert size("llama-3.1-8b").notes == ()
    renamed = '{"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 512}'
    file.write_text(renamed)  # keys that transformers has under other names
    assert size(str(file)).notes == ()


def test_a_language_model_inside_another_is_counted_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    text = (
        '"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16'
    )
    file.write_text(f'{{"model_type": "gemma3", "text_config": {{{text}}}}}')
    found = size(str(file))
    assert (found.layers, found.hidden, found.kv_heads) == (2, 64, 2)
    assert found.notes[0] == "the language model alone; not counted: vision_config"
    assert found.notes[1].startswith("not in the configuration, so transformers' own for 'gemma3_text': ")
    assert "vocab_size = 262208" in found.notes[1]
    assert "hidden_size" not in found.notes[1]
