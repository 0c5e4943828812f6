from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import catalog, loading
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel

from .conftest import same_weights


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, address: object) -> None:
        pytest.fail(f"a connection to {address} was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_reference_is_plain(tiny_model: BringupModel) -> None:
    reference = tiny_model.reference
    assert reference.config._attn_implementation == "eager"
    assert not any(module.training for module in reference.modules())
    assert {weight.dtype for weight in reference.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in reference.parameters())


def test_random_weights_depend_on_the_seed_alone(tiny: BringupModel) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = load_model("tiny-llama")
    assert torch.equal(torch.get_rng_state(), before), "loading drew from torch's generator"
    assert same_weights(tiny, again)
    other = load_model("tiny-llama", seed=2)
    name = "model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(other.reference.state_dict()[name], tiny.reference.state_dict()[name])


def test_random_weights_are_the_same_on_every_machine(tiny: BringupModel) -> None:
    weight = tiny.layer_weights("middle")["self_attn.v_proj.weight"]
    assert weight[0, :3].tolist() == [0.12563112378120422, 0.12410198152065277, -0.00525031890720129]


def test_tied_embeddings_are_one_tensor(tiny: BringupModel, tiny_scaled: BringupModel) -> None:
    for model, tied in ((tiny, False), (tiny_scaled, True)):
        weights = model.weights()
        assert (weights["lm_head.weight"].data_ptr() == weights["model.embed_tokens.weight"].data_ptr()) is tied


def test_a_folder(tiny: BringupModel, tiny_folder: Path) -> None:
    loaded = load_model(str(tiny_folder))
    assert same_weights(tiny, loaded)
    assert loaded.chat("Say hello.") == tiny.chat("Say hello.")
    assert loaded.reference.config._attn_implementation == "eager"


def test_a_folder_with_a_lost_weight(tiny_folder: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, tiny_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BringupError, match=r"lacks 1 weights of the model, the first: model\.layers\.3\.mlp\.up_proj\.weight"
    ):
        load_model(str(tiny_folder))


def test_a_folder_with_a_weight_of_another_shape(tiny_folder: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(64)
    save_file(weights, tiny_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BringupError, match=r"tiny folder lacks .* model\.norm\.weight \(of another shape\)"):
        load_model(str(tiny_folder))


def test_a_folder_with_a_broken_tokenizer(tiny_folder: Path) -> None:
    (tiny_folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BringupError, match=r"tiny folder can't be loaded by transformers 5\."):
        load_model(str(tiny_folder))


def test_a_gguf_file(tiny: BringupModel, write_gguf: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    loaded = load_model(str(write_gguf()), progress=lines.append)
    assert same_weights(tiny, loaded)
    assert loaded.config.rope_parameters == tiny.config.rope_parameters
    assert loaded.encode("was the best of times")[-4:] == tiny.encode("was the best of times")[-4:]
    assert len(lines) == 1
    assert lines[0].startswith("reading tiny.gguf (")
    assert capfd.readouterr().err == "", "a progress bar was shown"


def test_the_converted_copy(tiny: BringupModel, write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    path, lines = write_gguf(), []
    for _ in range(2):
        loaded = load_model(str(path), cache_dir=tmp_path / "cache", progress=lines.append)
        assert same_weights(tiny, loaded)
        assert (loaded.name, loaded.entry.path) == ("tiny", path)
    assert [line.split()[0] for line in lines] == ["converting"]
    catalog.check(str(copy_of(tmp_path / "cache")))  # it is a model like any other
    assert [file.name for file in (tmp_path / "cache" / "reference").iterdir() if not file.name.endswith(".lock")] == [
        copy_of(tmp_path / "cache").name
    ], "something temporary was left"


def test_what_a_killed_process_left_is_removed(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    path = str(write_gguf())
    load_model(path, cache_dir=tmp_path / "cache")
    folder = copy_of(tmp_path / "cache")
    left = folder.rename(folder.with_name(f".{folder.name}.xyz"))
    load_model(path, cache_dir=tmp_path / "cache")
    assert not left.exists()
    assert copy_of(tmp_path / "cache") == folder


def copy_of(cache: Path) -> Path:
    (folder,) = (path for path in (cache / "reference").iterdir() if path.is_dir())
    return folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: flip(folder / "model.safetensors"), id="one bit"),
        pytest.param(lambda folder: (folder / "model.safetensors").write_bytes(b""), id="empty"),
        pytest.param(lambda folder: (folder / "tokenizer.json").unlink(), id="lost file"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("{"), id="manifest"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("[]"), id="odd manifest"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), id="no manifest"),
    ],
)
def test_a_damaged_copy_is_made_again(
    damage: Callable[[Path], None], tiny: BringupModel, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    path, lines = write_gguf(), []
    load_model(str(path), cache_dir=tmp_path / "cache")
    damage(copy_of(tmp_path / "cache"))
    for _ in range(2):
        loaded = load_model(str(path), cache_dir=tmp_path / "cache", progress=lines.append)
        assert same_weights(tiny, loaded)
    assert [line.split()[0] for line in lines] == ["the", "converting"]
    assert "is damaged" in lines[0]


def test_another_file_of_the_same_name_has_its_own_copy(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    first = load_model(str(write_gguf()), cache_dir=tmp_path / "cache")
    changed = write_gguf(lambda _writer, weights: weights["output_norm.weight"].__imul__(2))
    second = load_model(str(changed), cache_dir=tmp_path / "cache")
    norms = [model.weights()["model.norm.weight"] for model in (first, second)]
    torch.testing.assert_close(norms[1], 2 * norms[0])


def test_two_at_once_convert_once(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    path, lines = str(write_gguf()), []
    with ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load_model, path, cache_dir=tmp_path / "cache", progress=lines.append) for _ in range(2)]
        assert same_weights(*(load.result() for load in loads))
    assert [line.split()[0] for line in lines] == ["converting"]


def test_models_load_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once would leave transformers' classes patched."""
    inside: list[int] = []
    at_once: list[int] = []

    def slow(entry: object, seed: int) -> object:
        inside.append(seed)
        at_once.append(len(inside))
        time.sleep(0.05)
        loaded = draw(entry, seed)
        inside.remove(seed)
        return loaded

    draw = loading._random
    monkeypatch.setattr(loading, "_random", slow)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: load_model("tiny-llama", seed=seed), range(3)))
    assert at_once == [1, 1, 1]


def test_a_cache_that_can_not_be_written(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(BringupError, match=r"can't be kept in .*cache: .*--tt-cache=DIR"):
        load_model(str(write_gguf()), cache_dir=tmp_path / "cache")
