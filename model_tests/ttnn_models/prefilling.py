"""Prompts read by prefill: in rounds, one of each instance at a time, and in chunks; and what comes behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import ttnn

from .config import DECODE_BATCH
from .kv_cache import KVCache
from .model import CausalLM
from .prefill_chunk import PrefillChunk, chunks_of

Choose = Callable[[ttnn.Tensor, Sequence[int]], Sequence[int]]
"""Makes a token for each of these slots of logits [1, 1, 32, V], whose rows are alike on each instance."""


class Prefilling:
    """Prefills prompts of one user of each instance at a time: those at the same row of their batches, in one program.

    An instance that has none there takes no part, and one whose prompt is shorter waits for the others.

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

    def next_tokens(self, prompts: Mapping[int, Sequence[int]], choose: Choose) -> dict[int, int]:
        """Prefill prompts by slot; what `choose` makes of the logits behind the last token of each."""
        tokens: dict[int, int] = {}
        for chunk, hidden, slots in self._chunks(prompts):
            ended = [slot for slot in slots if chunk.start + self.longest >= len(prompts[slot])]
            if ended:
                logits = self.model.last_logits(hidden, chunk)  # [1, 1, 32, V]
                tokens.update(zip(ended, choose(logits, ended), strict=True))
                ttnn.deallocate(logits)
        return tokens

    def logits(self, prompts: Mapping[int, Sequence[int]]) -> dict[int, torch.Tensor]:
        """Prefill prompts by slot; the logits [tokens, V] of each, float32."""
        rows: dict[int, list[torch.Tensor]] = {slot: [] for slot in prompts}
        for chunk, hidden, slots in self._chunks(prompts):
            logits = self.model.all_logits(hidden)
            by_instance = self.model.parallelism.join(logits, data=0)[:, 0]  # [instances, S, V]
            for slot in slots:
                instance = slot // DECODE_BATCH
                rows[slot].append(by_instance[instance, : chunk.lengths[instance]].float())
            ttnn.deallocate(logits)
        return {slot: torch.cat(parts) for slot, parts in rows.items()}

    def _chunks(
        self, prompts: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[PrefillChunk, ttnn.Tensor, Sequence[int]]]:
        """Chunks with their hidden states, each for as long as it is looked at, and the slots that take part."""
        model = self.model
        instances = range(model.parallelism.data)
        for user in sorted({slot % DECODE_BATCH for slot in prompts}):
            by_instance = [prompts.get(instance * DECODE_BATCH + user, ()) for instance in instances]
            for chunk in chunks_of(model.mesh_device, model.config, by_instance, user=user, longest=self.longest):
                hidden = model.prefill(chunk, self.kv_caches)
                yield chunk, hidden, [it * DECODE_BATCH + user for it in instances if chunk.lengths[it]]
                ttnn.deallocate(hidden)
                chunk.free()
