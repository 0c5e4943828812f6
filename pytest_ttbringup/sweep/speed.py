"""How fast a choice can be at most."""

from __future__ import annotations

from pytest_ttbringup.sweep.measurement import Measurement
from pytest_ttbringup.targets.systems import System


def decode_bound(measured: Measurement, system: System, context: int) -> float | None:
    """The least seconds of a decode step of 32 users with `context` positions behind them; None if nothing was built.

    It is the time that a chip's DRAM takes to deliver the weights and the KV cache, each read once, at its peak
    bandwidth. Products, the residual stream and collectives come on top, so no run beats it.
    """
    if measured.weight_bytes is None or measured.cache_bytes is None:
        return None
    return (measured.weight_bytes + context * measured.cache_bytes) / (system.dram_bandwidth_gb_s * 1e9)
