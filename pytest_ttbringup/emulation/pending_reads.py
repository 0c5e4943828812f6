"""Host tensors of reads that did not block: what they hold before the host has waited is whatever was there.

The emulated device has the values at once, and a program that forgets to wait would never see it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import host_tensors
from pytest_ttbringup.emulation.errors import EmulationError

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.queues import CommandQueues, Event


class PendingReads:
    """The latest reads that nobody was seen to wait for."""

    KEPT = 64
    """How many are watched. TT-NN's tensors can't be referred to weakly, so that each watched one is kept alive."""

    def __init__(self, queues: CommandQueues) -> None:
        self._queues = queues
        self._reads: deque[tuple[ttnn.Tensor, Event, str]] = deque(maxlen=self.KEPT)

    def add(self, tensor: ttnn.Tensor, device: int, queue: int, name: str) -> None:
        """Note a host tensor that call `name`, the last command of a queue, fills."""
        self._reads.append((tensor, self._queues.record(device, queue), name))

    def inherit(self, source: ttnn.Tensor, parts: list[ttnn.Tensor]) -> None:
        """Note that parts share the memory of a host tensor."""
        for tensor, event, name in list(self._reads):
            if tensor is source:
                self._reads.extend((part, event, name) for part in parts)

    def check(self, caller: str, *values: Any) -> None:
        """Refuse to use host tensors before the host has waited for their reads.

        Raises:
            EmulationError: one of `values` (lists of them looked into) is such a tensor.
        """
        if not self._reads:
            return
        used = host_tensors(*values)
        for tensor, event, name in list(self._reads) if used else ():
            if any(tensor is it for it in used) and not self._queues.host_has_seen(event):
                raise EmulationError(
                    f"{caller} uses the host tensor of a {name} with blocking=False on queue {event.queue}, and "
                    "nothing made the host wait for that; on the hardware it may not hold the values yet. Before: "
                    f"ttnn.event_synchronize(ttnn.record_event(mesh_device, {event.queue})), or "
                    "ttnn.synchronize_device(mesh_device)."
                )

    def sweep(self) -> None:
        """Let go of those that the host has waited for."""
        self._reads = deque((it for it in self._reads if not self._queues.host_has_seen(it[1])), maxlen=self.KEPT)

    def close(self, device: int) -> None:
        """Forget the reads from a device that is closed, which its queues have finished."""
        self._reads = deque((it for it in self._reads if it[1].device != device), maxlen=self.KEPT)
