"""Where compiled kernels and converted weights are kept."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_ttbringup.option_table import CACHE


def default_cache_dir() -> Path:
    """The folder when nobody says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttbringup"


def cache_dir_of_commands() -> Path:
    """The folder of commands that run no pytest: what the environment says, else the default."""
    named = os.environ.get(CACHE.environment)
    return Path(named).expanduser().absolute() if named else default_cache_dir()
