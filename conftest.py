"""Lets pytest find the plugin in a checkout that is not installed.

There, `pytest -p pytest_ttbringup.plugin` is better still: it sets the target up before conftest.py files import ttnn.
"""

from __future__ import annotations

from importlib.metadata import entry_points

# Installed, pytest has loaded it by its entry point already and would refuse it a second time under another name.
_INSTALLED = any(point.value == "pytest_ttbringup.plugin" for point in entry_points(group="pytest11"))

pytest_plugins = ["pytester"] if _INSTALLED else ["pytester", "pytest_ttbringup.plugin"]
