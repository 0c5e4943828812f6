"""Whether the files of a model are there, whole and readable, from their headers alone: before a device opens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import attributes
from pytest_ttbringup.reference.attributes import ModelAttributes
from pytest_ttbringup.reference.gguf_header import GgufHeader, check_tensors, damaged, read_header

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model")

# A Llama layer in a GGUF file, by llama.cpp's tensor names.
GGUF_LAYER = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def gguf_attributes(path: Path) -> ModelAttributes:
    """What the GGUF file at `path` says of the model. Raises BringupError as `read_header` and `from_gguf` do."""
    return attributes.from_gguf(read_header(path))


def folder_attributes(folder: Path) -> ModelAttributes:
    """What `config.json` in `folder` says of the model.

    Raises:
        BringupError: there is no such file, it is no JSON object, or the model is not supported.
    """
    return attributes.from_config(read_json(_config_file(folder)), folder / CONFIG)


def check_gguf(path: Path) -> None:
    """Check that the GGUF file at `path` is whole and holds a supported model.

    Raises:
        BringupError: what is wrong, with the file's name and the fix.
    """
    header = read_header(path)
    sizes = attributes.from_gguf(header)
    _check_gguf_names(header, sizes.num_hidden_layers)
    check_tensors(header)


def check_folder(folder: Path) -> None:
    """Check that `folder` holds a supported Hugging Face model: configuration, tokenizer, and whole safetensors files.

    Raises:
        BringupError: what is wrong, with the file's name and the fix.
    """
    folder_attributes(folder)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise BringupError(
            f"{folder} has no tokenizer: {' or '.join(TOKENIZERS)} is missing. Copy it from the original model."
        )
    for file in weight_files(folder):
        _check_safetensors(file)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`.

    Raises:
        BringupError: it can't be read or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BringupError(
            f"{path} can't be read: {error.strerror}. Make it readable, or copy the model again."
        ) from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise damaged(path, "it is not a JSON object")
    return content


def _config_file(folder: Path) -> Path:
    path = folder / CONFIG
    if path.is_file():
        return path
    found = sorted(file.name for file in folder.glob("*.gguf"))
    if found:
        raise BringupError(f"{folder} has no {CONFIG}, but {found[0]}. Give the path of that file: {folder / found[0]}")
    raise BringupError(
        f"{folder} is no Hugging Face model: it has no {CONFIG}. Give the folder that `save_pretrained` wrote, or a "
        "GGUF file."
    )


def _check_gguf_names(header: GgufHeader, layers: int) -> None:
    # transformers fills a weight it does not find with random numbers and only logs it.
    wanted = ["token_embd.weight", "output_norm.weight"]
    wanted += [f"blk.{layer}.{part}.weight" for layer in range(layers) for part in GGUF_LAYER]
    missing = [name for name in wanted if name not in header.tensors]
    if missing:
        raise damaged(header.path, f"{len(missing)} of its tensors are missing, the first {missing[0]!r}")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model in `folder`.

    Raises:
        BringupError: there are none, or some that the index names are missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / WEIGHTS_INDEX
    if not index.is_file():
        hint = ""
        if any(folder.glob("pytorch_model*.bin")):
            hint = " Its pytorch_model.bin is a pickle, which can run code when it is read, so it is not."
        raise BringupError(
            f"{folder} has no {WEIGHTS} or {WEIGHTS_INDEX}.{hint} Save the model with `save_pretrained`, which writes "
            "them."
        )
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise damaged(index, "it has no 'weight_map'")
    files = [folder / str(name) for name in sorted(set(parts.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BringupError(
            f"{folder} lacks {len(missing)} of its {len(files)} weight files, the first {missing[0]!r}. Copy the "
            "model again."
        )
    return files


def _check_safetensors(path: Path) -> None:
    """The layout: 8 bytes with the header's length, a JSON header, then the data, which the header places
    (huggingface/safetensors).
    """
    size = os.path.getsize(path)  # noqa: PTH202  follows the hub cache's links, as `open` does
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise damaged(path, f"its header should take {length} bytes, but the file has {size}")
        try:
            tensors = json.loads(file.read(length))
            ends = [int(info["data_offsets"][1]) for name, info in tensors.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise damaged(path, f"its header can't be read ({type(error).__name__}: {error})") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected or not ends:
        raise damaged(
            path, f"its header describes {expected} bytes and {len(ends)} tensors, but the file has {size} bytes"
        )
