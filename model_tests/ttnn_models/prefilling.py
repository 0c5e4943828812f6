"""A prompt read by prefill: in chunks, for one user, and what comes behind its last token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

from .kv_cache import KVCache
from .model import CausalLM
from .parallelism import Parallelism
from .prefill_chunk import PrefillChunk, chunks_of


class Prefilling:
    """Prefills prompts of one user after the other.

    Shapes: S rows of a chunk, V vocabulary.

    Args:
        model: the model.
        kv_caches: of all layers.
        longest: most tokens that are prefilled at once, a multiple of 32; more take as many prefills as they need.
    """

    def __init__(self, model: CausalLM, kv_caches: Sequence[KVCache], *, longest: int) -> None:
        self.model = model
        self.kv_caches = kv_caches
        self.longest = longest

    def next_token(self, prompt: Sequence[int], user: int, choose: Callable[[ttnn.Tensor, int], int]) -> int:
        """Prefill a prompt; what `choose` makes of the logits [1, 1, 32, V] and the row of its last token."""
        for chunk, hidden in self._chunks(prompt, user):
            if chunk.start + chunk.length == len(prompt):
                logits = self.model.last_logits(hidden, chunk)  # [1, 1, 32, V]
                token = choose(logits, chunk.last_row_in_tile)
                ttnn.deallocate(logits)
        return token

    def logits(self, prompt: Sequence[int], user: int) -> torch.Tensor:
        """Prefill a prompt; its logits [tokens, V], float32."""
        rows = []
        for chunk, hidden in self._chunks(prompt, user):
            logits = self.model.all_logits(hidden)
            rows.append(self.model.parallelism.join(logits)[0, 0, : chunk.length].float())
            ttnn.deallocate(logits)
        return torch.cat(rows)

    def _chunks(self, prompt: Sequence[int], user: int) -> Iterator[tuple[PrefillChunk, ttnn.Tensor]]:
        """The chunks of a prompt with their hidden states, each for as long as it is looked at."""
        model = self.model
        for chunk in chunks_of(model.mesh_device, model.config, prompt, user=user, longest=self.longest):
            hidden = model.prefill(chunk, self.kv_caches)
            yield chunk, hidden
            ttnn.deallocate(hidden)
            chunk.free()


def check_one_instance(parallelism: Parallelism) -> None:
    """Refuse to prefill by a model of several instances, which would all write the prompt to their own users' cache.

    Raises:
        BringupError: it has several.
    """
    if parallelism.data > 1:
        raise BringupError(
            f"A prefill reads one user's prompt, and this model has {parallelism.data} instances with users of their "
            "own. Read prompts by decode steps (prefill=False), or make a model for each submesh (Submeshes)."
        )
