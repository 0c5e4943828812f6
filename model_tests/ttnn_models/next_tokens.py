"""Each user's next token, chosen where it can be: greedily and by `ttnn.sampling` on the device, else on the host.

| a user's sampling | chosen by |
|---|---|
| greedy | `ttnn.argmax`, in the decode step |
| top-k of 1 to 32 | `ttnn.topk` and `ttnn.sampling`, in the decode step; temperature and top-p in BF16 |
| no top-k, or above 32 | the host, from the logits of the step: `pytest_ttbringup.generation.sampling.draw` |

It is the user's own sampling that decides, never who else is in the batch: so a seed gives one text.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence

import ttnn

from pytest_ttbringup.generation.sampling import GREEDY, SEEDS, SamplingConfig, draw

from .decode_state import DecodeState
from .device_sampling import DeviceSampler, drawn_on_device
from .kv_cache import KVCache
from .model import CausalLM
from .prefilling import Choose
from .traced_step import TracedStep


class Draws:
    """The random numbers of one user's text: one for each token drawn, from its seed alone."""

    def __init__(self, sampling: SamplingConfig) -> None:
        self.sampling = sampling
        self._numbers = random.Random(secrets.randbelow(SEEDS) if sampling.seed is None else sampling.seed)

    @property
    def on_device(self) -> bool:
        """Whether the device draws."""
        return drawn_on_device(self.sampling)

    @property
    def on_host(self) -> bool:
        """Whether the host draws."""
        return not self.sampling.greedy and not self.on_device

    def seed(self) -> int:
        """The seed of the device's next draw."""
        return self._numbers.getrandbits(31)

    def uniform(self) -> float:
        """The next random number in [0, 1), for the host."""
        return self._numbers.random()


Step = Callable[[], ttnn.Tensor | None]


class NextTokens:
    """Decode steps that leave each user's next token in the state, eager or traced.

    Args:
        model: the model.
        state: the users' tokens and positions.
        kv_caches: of all layers.
        trace: capture each kind of step when it is first wanted, and replay it.
    """

    def __init__(self, model: CausalLM, state: DecodeState, kv_caches: Sequence[KVCache], *, trace: bool) -> None:
        self.model = model
        self.state = state
        self.kv_caches = kv_caches
        self.trace = trace
        # Before any capture, or replays might overwrite its buffers.
        self.sampler = DeviceSampler(model.mesh_device, model.config.vocab_size, model.parallelism)
        self._traced: dict[str, TracedStep] = {}

    def step_for(self, users: Sequence[Draws]) -> Step:
        """The decode step these users need; it returns the logits [1, 1, B, V] if the host draws for one of them.

        A capture overwrites the state, so write that afterwards.
        """
        draws = any(user.on_device for user in users)
        reads = any(user.on_host for user in users)
        if not draws and not reads:
            return self._kept("greedy", lambda: self.model.decode_greedy(self.state, self.kv_caches))
        kind = "drawn, logits" if draws and reads else "drawn" if draws else "greedy, logits"
        return self._kept(kind, lambda: self._chosen(draws=draws, reads=reads))

    def forced(self) -> Step:
        """The decode step whose successor's tokens are given; it returns the logits [1, 1, B, V]."""
        return self._kept("forced", lambda: self.model.decode_forced(self.state, self.kv_caches))

    def after_prefill(self, users: Mapping[int, Draws]) -> Choose:
        """What chooses the tokens of these users, by slot, as a decode step would."""
        take = self.model.parallelism.take

        def choose(logits: ttnn.Tensor, slots: Sequence[int]) -> list[int]:
            tokens = self.model.lm_head.greedy(logits)  # [1, 1, 32]
            drawn = [slot for slot in slots if users[slot].on_device]
            if drawn:
                rows = range(self.state.users)
                self.sampler.write_users([users[row].sampling if row in drawn else GREEDY for row in rows])
                self.sampler.write_seeds([users[row].seed() if row in drawn else 0 for row in rows])
                self.sampler.choose(logits, tokens)
            chosen = take(tokens, data=2).flatten().tolist()  # a token for each slot: rows are alike
            ttnn.deallocate(tokens)
            by_host = [slot for slot in slots if users[slot].on_host]
            if by_host:
                values = take(logits, data=2)[0, 0].float()  # [B, V]
                for slot in by_host:
                    chosen[slot] = draw(values[slot], users[slot].sampling, users[slot].uniform())
            return [chosen[slot] for slot in slots]

        return choose

    def release(self) -> None:
        """Forget captured steps; the next one captures anew."""
        for step in self._traced.values():
            step.release()
        self._traced.clear()

    def _chosen(self, *, draws: bool, reads: bool) -> ttnn.Tensor | None:
        """One step with tokens drawn on the device among the greedy ones, and its logits if they are to be read."""
        logits = self.model.decode(self.state, self.kv_caches)
        self.model.lm_head.greedy(logits, out=self.state.tokens_out)
        if draws:
            self.sampler.choose(logits, self.state.tokens_out)
        self.state.advance()
        return logits if reads else None

    def _kept(self, kind: str, step: Step) -> Step:
        if not self.trace:
            return step
        if kind not in self._traced:
            self._traced[kind] = TracedStep(self.model.mesh_device, step, self.state)
        return self._traced[kind]
