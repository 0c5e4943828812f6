"""Loading the reference: transformers on the CPU, fp32, from local files only, without code of the model's own."""

from __future__ import annotations

import importlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.quick_imports import quick_imports
from pytest_ttbringup.reference import catalog
from pytest_ttbringup.reference.catalog import DEFAULT_SEED, ModelEntry
from pytest_ttbringup.reference.sources import WEIGHTS

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    from pytest_ttbringup.reference.model import BringupModel

# The textbook formula, one plain product after another in fp32, softmax included; gives attention weights when asked.
# `sdpa` picks a fused kernel by shape and mask, and takes but 8 % less time for a decode step of SmolLM2 with 32 users.
ATTENTION = "eager"
# from_pretrained replaces methods of PreTrainedModel while it runs, and puts back what it found: of two threads the
# second would put back the first one's, and models would be loaded without tied weights from then on.
_ONE_AT_A_TIME = threading.Lock()
# What transformers, tokenizers and safetensors raise for files that are there but wrong.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, NotImplementedError)


def load_model(
    name: str,
    *,
    seed: int = DEFAULT_SEED,
    cache_dir: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> BringupModel:
    """The model called `name` (see `catalog.resolve`) with its tokenizer.

    Args:
        name: a known name, a path, or a hub name in the local cache.
        seed: for models with random weights; other models do not use it.
        cache_dir: where the converted copy of a GGUF file is kept; without it the GGUF is converted at every load.
        progress: is told, in one line, when something is about to take more than a few seconds.

    Raises:
        BringupError: the model is unknown, not whole, not supported, or transformers can't load it; or `cache_dir`
            can't be written.
    """
    from pytest_ttbringup.reference.model import BringupModel

    catalog.check(name)
    entry = catalog.resolve(name)
    tell = progress or _nobody
    with _ONE_AT_A_TIME, quick_imports():
        importlib.import_module("transformers.models.llama.modeling_llama")
    with _ONE_AT_A_TIME, _quiet_transformers(), _explained(entry):
        if entry.kind == "random":
            reference, tokenizer = _random(entry, seed)
        elif entry.kind == "gguf":
            reference, tokenizer = _gguf(entry, cache_dir, tell)
        else:
            reference, tokenizer = _pretrained(entry.location)
    reference.eval().requires_grad_(False)
    return BringupModel(entry=entry, reference=reference, tokenizer=tokenizer, seed=seed)


def _nobody(line: str) -> None:
    """Takes the place of a progress that nobody wants to see."""


def _random(entry: ModelEntry, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from pytest_ttbringup.reference.random_weights import random_weights
    from pytest_ttbringup.reference.text import tiny_tokenizer, unprintable_tokens

    config = LlamaConfig.from_dict({**(entry.config or {}), "attn_implementation": ATTENTION})
    tokenizer = tiny_tokenizer(config.vocab_size)
    with torch.random.fork_rng(devices=[]):  # transformers draws weights of its own first
        reference = LlamaForCausalLM(config)
    reference.load_state_dict(random_weights(config, seed, unprintable_tokens(tokenizer)))
    return reference, tokenizer


def _gguf(
    entry: ModelEntry, cache_dir: Path | None, tell: Callable[[str], None]
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    from pytest_ttbringup.reference.converted import converted_folder

    path = entry.location
    size = f"{path.name} ({path.stat().st_size / 1e6:.0f} MB)"

    def convert(folder: Path) -> None:
        tell(f"converting {size} to fp32: about 20 s, once")
        with _explained(entry):
            loaded = _from_gguf(path)
        _write_copy(folder, *loaded)

    if cache_dir is None:
        tell(f"reading {size}: about 20 s")
        return _from_gguf(path)
    return _pretrained(converted_folder(path, cache_dir, convert, tell))


def _from_gguf(path: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    with redirect_stderr(io.StringIO()):  # its progress bar knows no other way to be quiet
        return _pretrained(path.parent, path.name)


def _write_copy(folder: Path, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write a folder that `from_pretrained` reads. (`save_pretrained` refuses a model that came from a GGUF file.)"""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = dict(reference.state_dict())
    if reference.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    try:
        save_file(
            {name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"}
        )
    except SafetensorError as error:  # what it makes of an OSError, such as a full disk
        raise OSError(str(error)) from error
    reference.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pretrained(folder: Path, gguf_file: str | None = None) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if gguf_file:
        local["gguf_file"] = gguf_file
    tokenizer = AutoTokenizer.from_pretrained(folder, **local)
    loaded: Any = LlamaForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=ATTENTION,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # to be told of them below, where the error can name them
        **local,
    )
    reference, info = loaded
    lacking = [*sorted(info["missing_keys"]), *(f"{key[0]} (of another shape)" for key in info["mismatched_keys"])]
    if lacking:  # transformers would go on with random numbers there
        raise BringupError(
            f"{folder / (gguf_file or '')} lacks {len(lacking)} weights of the model, the first: {lacking[0]}. "
            "Its configuration and its weights do not belong together: copy, download or save it again."
        )
    reference.config.__dict__.pop("quantization_config", None)  # of the GGUF; the weights are no longer quantized
    return reference, tokenizer


@contextmanager
def _explained(entry: ModelEntry) -> Iterator[None]:
    try:
        yield
    except LOAD_ERRORS as error:
        from transformers import __version__

        raise BringupError(
            f"{entry.path or entry.name} can't be loaded by transformers {__version__}: {type(error).__name__}: "
            f"{error}. Its headers are in order, so its content is damaged or of an unusual form: copy, download or "
            "save it again."
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without transformers' progress bars and reports of what `_pretrained` checks itself, amid pytest's own lines."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
