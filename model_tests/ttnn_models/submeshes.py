"""Data parallel by submeshes: a model of its own on each part of a mesh, as TT-NN's own LLM code does it.

In contrast to one model over the whole mesh (`Parallelism.data`) the parts need not run in step: none waits for another
with a longer prompt, at the price of a host call per part for what the other way needs one for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import ttnn

from pytest_ttbringup.errors import BringupError

from .config import DECODE_BATCH, ModelConfig
from .generator import Generation, Generator
from .model import CausalLM
from .model_precision import ModelPrecision
from .precision import DEFAULT_PRECISION, PrecisionConfig
from .state_dict import StateDict
from .weights import UNCACHED, WeightCache


class Submeshes:
    """Generators, each for up to 32 users; the first 32 go to the first, and so on.

    Args:
        generators: one for each submesh.

    Attributes:
        users: most texts at a time, of all submeshes.
    """

    def __init__(self, generators: Sequence[Generator]) -> None:
        self.generators = list(generators)
        self.users = DECODE_BATCH * len(self.generators)

    @classmethod
    def from_weights(
        cls,
        mesh_device: ttnn.MeshDevice,
        config: ModelConfig,
        weights: StateDict,
        *,
        precision: PrecisionConfig | ModelPrecision = DEFAULT_PRECISION,
        weight_cache: WeightCache = UNCACHED,
        report: Callable[[str], None] | None = None,
        prefill: bool = False,
    ) -> Submeshes:
        """A model on every submesh of 1 x `config.parallelism.tensor` chips.

        Raises:
            BringupError: weights are missing, left over or of the wrong shape; or the configuration is of a model with
                several instances.
        """
        if config.parallelism.data > 1:
            raise BringupError(
                f"Each submesh holds one instance; parallelism.data = {config.parallelism.data} must be 1. The mesh's "
                "shape says how many submeshes there are."
            )
        parts = mesh_device.create_submeshes(ttnn.MeshShape(1, config.parallelism.tensor))
        models = (
            CausalLM.from_weights(part, config, weights, precision=precision, weight_cache=weight_cache, report=report)
            for part in parts
        )
        return cls([Generator(model, prefill=prefill) for model in models])

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_tokens: Collection[int] = (),
        report: Callable[[str], None] | None = None,
    ) -> list[Generation]:
        """As `Generator.generate`, one submesh after the other.

        Raises:
            BringupError: there is no prompt or more than places, or what `Generator.generate` raises.
        """
        if not 1 <= len(prompts) <= self.users:
            raise BringupError(f"{len(prompts)} texts given; a batch has 1 to {self.users} users.")
        written: list[Generation] = []
        for start, generator in zip(range(0, len(prompts), DECODE_BATCH), self.generators, strict=False):
            written += generator.generate(
                prompts[start : start + DECODE_BATCH],
                max_new_tokens=max_new_tokens,
                stop_tokens=stop_tokens,
                report=report,
            )
        return written
