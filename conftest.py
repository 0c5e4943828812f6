"""Lets pytest find the plugin in a checkout that is not installed.

There, `pytest -p pytest_ttbringup.plugin` is better still: it sets the target up before conftest.py files import ttnn.
"""

from __future__ import annotations

from importlib.metadata import entry_points

# Installed, pytest has loaded it by its entry point already and would refuse it a second time under another name.
_INSTALLED = any(point.value == "pytest_ttbringup.plugin" for point in entry_points(group="pytest11"))

pytest_plugins = ["pytester"] if _INSTALLED else ["pytester", "pytest_ttbringup.plugin"]


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
