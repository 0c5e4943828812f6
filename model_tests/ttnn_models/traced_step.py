"""A decode step that is captured once and replayed: the host then issues one command for each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ttnn

from .decode_state import DecodeState
from .kv_cache import KVCache
from .model import CausalLM


class TracedStep:
    """Replays what one call of `step` did on the device, with whatever its inputs hold at that time.

    `step` may only use buffers that stay where they are, and must not touch the host. What is put on the device after
    the capture may be overwritten by any replay, since TT-NN takes the addresses that a trace writes to for free.

    Args:
        mesh_device: where it runs; opened with a `trace_region_size`.
        step: what to capture. It is called once before, to compile it.
        state: the users; all are inactive while `step` is compiled, so that no cache changes.
    """

    def __init__(
        self, mesh_device: ttnn.MeshDevice, step: Callable[[], ttnn.Tensor | None], state: DecodeState
    ) -> None:
        self.mesh_device = mesh_device
        state.write_positions([])
        step()
        state.write_positions([])
        ttnn.synchronize_device(mesh_device)
        self._trace = ttnn.begin_trace_capture(mesh_device, cq_id=0)
        try:
            self.output = step()
        finally:
            ttnn.end_trace_capture(mesh_device, self._trace, cq_id=0)

    @classmethod
    def greedy(cls, model: CausalLM, state: DecodeState, kv_caches: Sequence[KVCache]) -> TracedStep:
        """`CausalLM.decode_greedy`: the next tokens are in the state. `output` is None."""
        return cls(model.mesh_device, lambda: model.decode_greedy(state, kv_caches), state)

    @classmethod
    def forced(cls, model: CausalLM, state: DecodeState, kv_caches: Sequence[KVCache]) -> TracedStep:
        """`CausalLM.decode_forced`: `output` holds the logits [1, 1, B, V] of the last replay."""
        return cls(model.mesh_device, lambda: model.decode_forced(state, kv_caches), state)

    def __call__(self) -> ttnn.Tensor | None:
        """Start a replay on queue 0, and do not wait for it; returns `output`."""
        ttnn.execute_trace(self.mesh_device, self._trace, cq_id=0, blocking=False)
        return self.output

    def release(self) -> None:
        """Forget the trace, and give its memory back."""
        ttnn.release_trace(self.mesh_device, self._trace)
