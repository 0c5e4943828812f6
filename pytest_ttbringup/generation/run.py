"""What `ttbringup generate` does: the prompts, the model, the device, and the text as it comes."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.fixtures.mesh_pool import MeshPool
from pytest_ttbringup.generation.command import IMPLEMENTATION
from pytest_ttbringup.generation.printing import TextPrinter
from pytest_ttbringup.generation.sampling import SEEDS, SamplingConfig
from pytest_ttbringup.option_table import MODEL
from pytest_ttbringup.options import Settings, settings_of
from pytest_ttbringup.planning.parallel_kind import planned_kind
from pytest_ttbringup.planning.roofline.ladder import import_models
from pytest_ttbringup.run import target_of
from pytest_ttbringup.targets import system_of

if TYPE_CHECKING:
    from pytest_ttbringup.reference.model import BringupModel

TRACE_REGION = 64 << 20
"""Bytes of DRAM for captured steps."""


def generate(config: pytest.Config, options: argparse.Namespace) -> None:
    """Print each prompt and the text behind it.

    Raises:
        BringupError: an argument is wrong, or the model, its implementation or the target is not there.
    """
    sampling = SamplingConfig(options.temperature, options.top_k, options.top_p, options.seed)
    if options.compare_reference and not sampling.greedy:
        raise BringupError("--compare-reference compares greedy texts; leave out --temperature, or it.")
    settings = settings_of(config)
    if len(settings.models) != 1:
        raise BringupError(f"{MODEL.flag}={','.join(settings.models)}: text comes from one model; name one.")
    prompts = _prompts(options.prompt)
    start = time.monotonic()
    tell = _Progress(start)
    model = _load(settings, tell)
    tokens = _tokens(model, prompts, options.chat, options.system)
    system, positions = system_of(settings.system), model.config.max_position_embeddings
    kind = settings.parallel or planned_kind(model.config, model.name, system, settings.mesh, context=positions)
    plan = _implementation(options.implementation).plan_generator(
        model.config,
        model.name,
        tokens,
        max_new_tokens=options.max_new_tokens,
        mesh=settings.mesh,
        parallel=kind,
        precision=settings.precision,
    )
    target = target_of(config)
    pool = MeshPool(target)
    printer = TextPrinter(model.tokenizer, prompts)
    try:
        with pool.lease(settings.mesh, {"trace_region_size": TRACE_REGION} if options.trace else {}) as mesh_device:
            generator = plan.build(
                mesh_device,
                model.reference.state_dict(),
                weights_dir=settings.cache_dir / "weights",
                trace=options.trace,
                report=tell,
            )
            begun = time.monotonic()
            written = generator.generate(
                tokens,
                max_new_tokens=options.max_new_tokens,
                sampling=_samplings(sampling, len(prompts)),
                stop_tokens=model.stop_tokens,
                on_token=printer.add,
                on_end=printer.end,
                report=tell if len(prompts) > 1 else None,
            )
            ended = time.monotonic()
            generator.release()
            del generator
    finally:
        pool.close()
    if options.compare_reference:
        _compare(model, prompts, tokens, written, options.max_new_tokens)
    count = sum(len(user.tokens) for user in written)
    what = f"{target.header()}, precision {settings.precision_name}"
    what += f", numerics {target.arithmetic()}; emulated time is no device time" if target.arithmetic() else ""
    sys.stdout.write(
        f"\n{count} tokens behind {sum(map(len, tokens))} of the prompts in {ended - begun:.1f} s, set-up "
        f"{begun - start:.1f} s; {model.name} on {what}\n"
    )


def _prompts(given: Sequence[str]) -> list[str]:
    prompts = list(given)
    if not prompts:
        if sys.stdin.isatty():
            raise BringupError("there is no prompt. Give one with --prompt TEXT, or on standard input.")
        prompts = [sys.stdin.read().strip()]
    for number, prompt in enumerate(prompts):
        if not prompt.strip():
            which = f"prompt {number + 1} of {len(prompts)}" if len(prompts) > 1 else "the prompt"
            raise BringupError(f"{which} is empty. Give some text with --prompt TEXT, or on standard input.")
    return prompts


def _tokens(model: BringupModel, prompts: Sequence[str], chat: bool | None, system: str | None) -> list[list[int]]:
    templated = bool(model.tokenizer.chat_template)
    if chat and not templated:
        raise BringupError(f"--chat: {model.name} has no chat template. Leave it out.")
    if system is not None and not (templated and chat is not False):
        raise BringupError(
            "--system: a system message needs a chat template"
            + (", and --no-chat leaves it out." if templated else f", and {model.name} has none.")
        )
    if chat is False or not templated:
        return [model.encode(prompt) for prompt in prompts]
    return [model.chat(prompt, system=system) for prompt in prompts]


def _samplings(sampling: SamplingConfig, users: int) -> list[SamplingConfig]:
    """One for each prompt, with seeds of their own, so that equal prompts get different texts."""
    if sampling.seed is None:
        return [sampling] * users
    return [replace(sampling, seed=(sampling.seed + user) % SEEDS) for user in range(users)]


def _implementation(name: str) -> ModuleType:
    if name == IMPLEMENTATION:
        import_models()
    try:
        build = importlib.import_module(f"{name}.build")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.build".startswith(error.name):
            raise
        raise BringupError(
            f"--implementation={name}: there is no module {name}.build. Run this where pytest's ini setting pythonpath "
            "names the folder that holds it."
        ) from error
    if not hasattr(build, "plan_generator"):
        raise BringupError(f"--implementation={name}: {name}.build has no plan_generator, which makes the TT-NN model.")
    return build


def _load(settings: Settings, tell: Callable[[str], None]) -> BringupModel:
    from pytest_ttbringup.reference.loading import load_model

    return load_model(settings.models[0], seed=settings.seed, cache_dir=settings.cache_dir, progress=tell)


def _compare(
    model: BringupModel,
    prompts: Sequence[str],
    tokens: Sequence[Sequence[int]],
    written: Sequence[Any],
    max_new_tokens: int,
) -> None:
    from pytest_ttbringup.reference.generation import batch_greedy

    expected = batch_greedy(model.reference, tokens, max_new_tokens, stop=model.stop_tokens)
    sys.stdout.write("\nthe reference's texts (transformers on the CPU, fp32, greedy)\n")
    for prompt, user, theirs in zip(prompts, written, expected, strict=True):
        same = next((at for at, pair in enumerate(zip(user.tokens, theirs, strict=False)) if pair[0] != pair[1]), None)
        if same is None and len(user.tokens) == len(theirs):
            text = f"(the same {len(theirs)} tokens)"
        else:
            same = min(len(user.tokens), len(theirs)) if same is None else same
            text = f"(the same for {same} tokens)\n{model.decode(theirs)}"
        sys.stdout.write(f"> {prompt}\n{text}\n")


class _Progress:
    """Writes lines to standard error, at most one in five seconds."""

    def __init__(self, start: float, every: float = 5.0) -> None:
        self._start = start
        self._every = every
        self._last = start

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            sys.stderr.write(f"generate, {now - self._start:4.0f} s: {line}\n")
            sys.stderr.flush()
