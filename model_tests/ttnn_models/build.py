"""A generator for a Hugging Face model: what can be refused first, then the model on the device.

This is what `ttbringup generate` asks of an implementation: a module `build` with `plan_generator`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ttnn

from pytest_ttbringup.parallel import Kind

from .config import DECODE_BATCH, TILE_SIZE, ModelConfig
from .generator import Generator
from .model import CausalLM
from .model_precision import ModelPrecision
from .parallelism import SINGLE, Parallelism
from .precision_file import precision_of
from .session import check_new_tokens
from .state_dict import StateDict
from .text_limits import check_texts
from .weights import WeightCache

POSITIONS_UNIT = 256
"""The KV cache is made for a multiple of it, so that prompts of any length use few different programs."""


@dataclass(frozen=True)
class GeneratorPlan:
    """A generator that can be made: everything was checked that needs no device."""

    config: ModelConfig
    precision: ModelPrecision

    def build(
        self,
        mesh_device: ttnn.MeshDevice,
        weights: StateDict,
        *,
        weights_dir: Path,
        trace: bool,
        report: Callable[[str], None],
    ) -> Generator:
        """Move the model to the device. Prompts are prefilled.

        Args:
            mesh_device: where it runs; for `trace`, opened with a `trace_region_size`.
            weights: by Hugging Face's names.
            weights_dir: keeps the converted ones.
            trace: capture the decode step, and replay it.
            report: called with a line of progress.
        """
        model = CausalLM.from_weights(
            mesh_device,
            self.config,
            weights,
            precision=self.precision,
            weight_cache=WeightCache(weights_dir),
            report=report,
        )
        return Generator(model, prefill=True, trace=trace)


def plan_generator(
    hf_config: Any,
    name: str,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    mesh: tuple[int, int],
    parallel: Kind,
    precision: str,
) -> GeneratorPlan:
    """A plan for these prompts: its KV cache has room for them and what is written behind.

    Args:
        hf_config: the model's `transformers` configuration.
        name: the model's, for messages.
        prompts: token ids.
        max_new_tokens: most that are written for each.
        mesh: rows and columns.
        parallel: how its chips are used.
        precision: a preset, or the path of a TOML file.

    Raises:
        BringupError: the model, the mesh, the precision, or the number, length or tokens of the prompts can't be had.
    """
    layered = precision_of(precision)
    check_new_tokens(max_new_tokens)
    parallelism = SINGLE if mesh == (1, 1) else Parallelism.over(mesh, parallel)
    needed = max(1, max((len(prompt) for prompt in prompts), default=0) + max_new_tokens - 1)
    longest = hf_config.max_position_embeddings // TILE_SIZE * TILE_SIZE
    positions = min(-(-needed // POSITIONS_UNIT) * POSITIONS_UNIT, longest)
    config = ModelConfig.from_hf(hf_config, max_seq_len=positions, parallelism=parallelism)
    layered.check(config.num_layers, name)
    check_texts(prompts, config, users=DECODE_BATCH * parallelism.data, new_tokens=max_new_tokens)
    return GeneratorPlan(config, layered)
