"""Whole texts through the reference: hidden states of every layer, logits for teacher forcing, and greedy continuation.

Shapes: B users, T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference.decode import cache_of, prefill_history

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@torch.no_grad()
def reference_logits(reference: LlamaForCausalLM, ids: Sequence[int]) -> torch.Tensor:
    """The logits [T, V] at every position of the text `ids`: row t scores what follows token t."""
    logits: torch.Tensor = reference(input_ids=torch.tensor([list(ids)]), use_cache=False).logits
    return logits[0]


@torch.no_grad()
def answer_logits(reference: LlamaForCausalLM, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """The logits [A, V] that choose an answer of A tokens behind a prompt: row a scores `answer[a]` and its rivals.

    Those of the prompt are not computed: of a prompt of 4096 tokens they would take 0.8 GB (SmolLM2).

    Raises:
        BringupError: the prompt or the answer is empty.
    """
    if not prompt or not answer:
        raise BringupError("A prompt or an answer is empty; both must have at least one token.")
    text = torch.tensor([[*prompt, *answer[:-1]]])
    logits: torch.Tensor = reference(input_ids=text, use_cache=False, logits_to_keep=len(answer)).logits
    return logits[0]


def greedy(reference: LlamaForCausalLM, prompt: Sequence[int], tokens: int, *, stop: Collection[int] = ()) -> list[int]:
    """At most `tokens` tokens after `prompt`, each the likeliest; ends behind a token of `stop`."""
    return batch_greedy(reference, [prompt], tokens, stop=stop)[0]


@torch.no_grad()
def batch_greedy(
    reference: LlamaForCausalLM, prompts: Sequence[Sequence[int]], tokens: int, *, stop: Collection[int] = ()
) -> list[list[int]]:
    """Greedy text for several users at once, whose prompts may differ in length: for each the same as `greedy` alone.

    Prompts are padded on the right and the padding is masked, so every user's positions count from its own first token.

    Raises:
        BringupError: there is no prompt, or one is empty.
    """
    history, logits = prefill_history(reference, prompts)
    cache = cache_of(reference.config, history)
    mask = torch.arange(history.keys[0].shape[2]) < history.lengths[:, None]
    positions = history.lengths.clone()
    texts: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    for step in range(tokens):
        chosen = logits.argmax(-1)
        for user in sorted(running):
            texts[user].append(int(chosen[user]))
            if texts[user][-1] in stop:
                running.remove(user)
        if not running or step == tokens - 1:
            break
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=torch.bool)], dim=1)
        hidden = reference.model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits = reference.lm_head(hidden[:, -1])
        positions += 1
    return texts
