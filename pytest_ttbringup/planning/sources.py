"""The configuration of the model that is to be planned: by name, from a folder or a GGUF file, or the Hub's cache."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.known_configs import KNOWN_CONFIGS
from pytest_ttbringup.planning.model_size import SIZES, STATED
from pytest_ttbringup.reference import catalog, sources
from pytest_ttbringup.reference.loading import LOAD_ERRORS


def config_of(model: str) -> tuple[str, Any]:
    """A short name and the `transformers.PreTrainedConfig` of a model. No weights are read.

    Args:
        model: a name of `known_configs` or of the models the ladder knows, a folder or file with a Hugging Face
            `config.json`, a GGUF file, or `owner/model` from the local Hugging Face cache.

    Raises:
        BringupError: there is no such model, or its configuration can't be read; the message says which.
    """
    name = model.lower()
    if name in KNOWN_CONFIGS:
        return name, _from_json(KNOWN_CONFIGS[name], model)
    path = Path(model).expanduser()
    if path.is_file() and path.suffix == ".json":
        return path.resolve().parent.name, _from_json(sources.read_json(path), path)
    if name not in catalog.names() and "/" not in model and path.suffix != ".gguf" and not path.exists():
        known = [*KNOWN_CONFIGS, *catalog.names()]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BringupError(
            f"no model is called {model!r}.{hint} Known: {', '.join(known)}; or give a folder with a config.json, a "
            "GGUF file, or owner/model from the local Hugging Face cache."
        )
    entry = catalog.resolve(model)
    if entry.config is not None:
        return entry.name, _from_json(entry.config, model)
    if entry.kind == "folder":
        config = entry.location / sources.CONFIG
        return entry.name, _from_json(sources.read_json(config), config)
    sizes = asdict(entry.attributes())
    rope = {"rope_theta": sizes.pop("rope_theta"), "rope_type": sizes.pop("rope_type")}
    return entry.name, _from_json({"model_type": "llama", "rope_parameters": rope, **sizes}, entry.location)


def _from_json(stated: Any, source: object) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    entries = dict(stated)
    model_type = entries.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        near = difflib.get_close_matches(str(model_type), list(CONFIG_MAPPING), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BringupError(
            f"{source}: model_type is {model_type!r}, which transformers {__version__} does not know, so neither its "
            f"weights nor its KV cache can be counted.{hint} Code that comes with a model is not run here."
        )
    for part in (entries, entries.get("text_config")):
        _check_sizes(part if isinstance(part, dict) else {}, source)
    try:
        config = AutoConfig.for_model(model_type, **entries)
        text = stated.get("text_config", stated) if config.get_text_config() is not config else stated
        setattr(config, STATED, frozenset(text))
        return config
    except (*LOAD_ERRORS, ArithmeticError, StrictDataclassError) as error:
        said = " ".join(str(error).split())
        raise BringupError(
            f"{source} can't be read as a configuration of {model_type!r}: {said}. Correct it, or copy the model's own "
            "config.json again."
        ) from error


def _check_sizes(stated: dict[str, Any], source: object) -> None:
    """Refuse sizes below 1, on which transformers may divide."""
    for key in (*SIZES, "head_dim"):
        value = stated.get(key, 1)
        if isinstance(value, (int, float)) and value < 1:
            raise BringupError(
                f"{source}: {key} is {value}, and must be a whole number above 0. Correct it, or copy the model's own "
                "config.json again."
            )
