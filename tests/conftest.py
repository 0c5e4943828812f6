"""How the tests of the plugin itself run their property tests, and which arithmetic they may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def pytest_collection() -> None:
    """Settle how property tests run, before their modules are read (and not for `pytest --help`)."""
    from hypothesis import HealthCheck, settings

    # Deadlines flake on shared cores, where one example may wait for another process. `mesh_device` is one open device
    # for the whole session whatever its scope, so that examples share it is meant.
    settings.register_profile(
        "ttbringup",
        deadline=None,
        max_examples=25,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    settings.load_profile("ttbringup")


@pytest.fixture
def exact_arithmetic(mesh_device: object) -> Iterator[None]:  # noqa: ARG001  opening it chooses the run's arithmetic
    """For tests of what operations mean, not of how the device rounds inside of them: as `--tt-numerics=exact`."""
    from pytest_ttbringup.emulation import arithmetic

    before = arithmetic.arithmetic()
    arithmetic.choose("exact")
    yield
    arithmetic.restore(before)
