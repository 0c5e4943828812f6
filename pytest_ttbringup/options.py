"""The settings of a run: command line, else environment, else ini file, else default; resolved once and frozen."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from pytest_ttbringup.cache_folder import default_cache_dir
from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.option_table import (
    CACHE,
    DEFAULT_MODEL,
    DEFAULT_PRECISION,
    LAYERS,
    MESH,
    MODEL,
    NUMERICS,
    PARALLEL,
    PCC_THRESHOLD,
    PRECISION,
    PRESETS,
    SEED,
    SYSTEM,
    TARGET,
    Given,
    Option,
    add_options,
    given,
)
from pytest_ttbringup.parallel import KINDS, Kind, degrees
from pytest_ttbringup.reference.catalog import DEFAULT_SEED
from pytest_ttbringup.targets import TARGET_NAMES, default_system, default_target, emulated
from pytest_ttbringup.targets.systems import CUSTOM, SYSTEMS, System, system_holding, system_of

__all__ = ["Layers", "Settings", "add_options", "resolve", "settings_of"]

Layers = Literal["edges", "all"] | tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do.

    Attributes:
        target: `emulated`, `silicon` or `simulator`.
        target_reason: why that one, for the report header.
        system: the name of a system of `targets.systems`.
        mesh: mesh shape (rows, columns).
        parallel: how a mesh of several chips is used; None leaves it to the plan of each model.
        numerics: the emulated target's arithmetic: `device`, `exact` or `bitexact`.
        precision: a preset of `option_table.PRESETS`, or the path of a TOML file that can be read.
        pcc_threshold: the user's own threshold for every comparison; None leaves it to each comparison.
        models: models the catalog can resolve, as they were named and in that order.
        layers: `edges` (first, middle, last), `all`, or layer numbers that every model has.
        seed: for `reset_seeds` and random weights, 0 to 2**32 - 1.
        cache_dir: an existing folder of the user's that can be written.
    """

    target: str
    target_reason: str
    system: str
    mesh: tuple[int, int]
    parallel: Kind | None
    numerics: str
    precision: str
    pcc_threshold: float | None
    models: tuple[str, ...]
    layers: Layers
    seed: int
    cache_dir: Path

    @property
    def precision_name(self) -> str:
        """The precision as reports call it: the preset, or the file's name without `.toml`."""
        return self.precision if self.precision in PRESETS else Path(self.precision).stem


SETTINGS = pytest.StashKey[Settings]()


def settings_of(config: pytest.Config) -> Settings:
    """The settings of this run, resolved at the first call."""
    if SETTINGS not in config.stash:
        config.stash[SETTINGS] = resolve(config)
    return config.stash[SETTINGS]


def resolve(config: pytest.Config) -> Settings:
    """Read every setting and check it.

    Raises:
        pytest.UsageError: a value is illegal; the message names it, where it came from, what is legal and the fix.
    """
    target_given = given(config, TARGET)
    target, reason = _target(target_given)
    mesh_given, system_given = given(config, MESH), given(config, SYSTEM)
    shape = _parsed(mesh_given, _shape, None)
    system = _system(system_given, target, shape)
    models: tuple[str, ...] = _parsed(given(config, MODEL), _models, (DEFAULT_MODEL,))
    mesh = _parsed(mesh_given, lambda it: _mesh(it, system), system.mesh)
    return Settings(
        target=target,
        target_reason=reason,
        system=system.name,
        mesh=mesh,
        parallel=_parsed(given(config, PARALLEL), lambda it: _parallel(it, mesh), None),
        numerics=_parsed(given(config, NUMERICS), _numerics, emulated.DEFAULT_NUMERICS),
        precision=_parsed(given(config, PRECISION), lambda it: _precision(it, config), DEFAULT_PRECISION),
        pcc_threshold=_parsed(given(config, PCC_THRESHOLD), _pcc_threshold, None),
        models=models,
        layers=_parsed(given(config, LAYERS), lambda it: _layers(it, models), "edges"),
        seed=_parsed(given(config, SEED), _seed, DEFAULT_SEED),
        cache_dir=_cache_dir(given(config, CACHE), config),
    )


T = TypeVar("T")


def _parsed(value: Given | None, parse: Callable[[Given], T], default: T) -> T:
    return default if value is None else parse(value)


def _target(value: Given | None) -> tuple[str, str]:
    if value is None:
        return default_target()
    if value.value not in TARGET_NAMES:
        value.refuse("no such target.", _choose(value.value, TARGET_NAMES))
    return value.value, f"chosen by {value.fix}"


def _system(value: Given | None, target: str, mesh: tuple[int, int] | None) -> System:
    try:
        system = default_system(target, mesh) if value is None else system_of(value.value)
    except BringupError as error:
        if value is None:
            raise pytest.UsageError(str(error)) from error
        value.refuse(str(error))
    if value is not None and system.name == CUSTOM and target != emulated.NAME:
        value.refuse(
            f"{CUSTOM} is no machine but a cluster that only the emulated target makes up; this run's is {target}.",
            f"Use {TARGET.flag}={emulated.NAME}, or the system that is there: "
            f"{', '.join(it.name for it in SYSTEMS if it.name != CUSTOM)}.",
        )
    return system


def _shape(value: Given) -> tuple[int, int]:
    shape = re.fullmatch(r"(\d+)x(\d+)", value.value.strip(), re.IGNORECASE)
    if not shape:
        value.refuse("a mesh shape is two numbers, ROWSxCOLUMNS.", f"For instance {value.fix}=1x2.")
    mesh = (int(shape[1]), int(shape[2]))
    if 0 in mesh:
        value.refuse("a mesh has at least one row and one column.", f"For instance {value.fix}=1x1.")
    return mesh


def _mesh(value: Given, system: System) -> tuple[int, int]:
    mesh = _shape(value)
    if not system.holds(mesh):
        value.refuse(_misfit(mesh, system), _larger(mesh, system))
    return mesh


def _misfit(mesh: tuple[int, int], system: System) -> str:
    count = mesh[0] * mesh[1]
    if count > system.chips:
        chips = f"{system.chips} chip" + ("s" if system.chips > 1 else "")
        return f"needs {count} chips, but system {system.name} has {chips}."
    rows, cols = system.mesh
    return f"TT-Metal finds no such mesh in system {system.name}, whose chips are cabled as {rows}x{cols}."


def _larger(mesh: tuple[int, int], system: System) -> str:
    rows, cols = system.mesh
    fitting = system_holding(mesh, arch=system.arch)
    if fitting:
        return f"Use {SYSTEM.flag}={fitting.name} ({fitting.description}), or a mesh of at most {rows}x{cols}."
    largest = max((it for it in SYSTEMS if it.arch == system.arch), key=lambda it: it.chips)
    return (
        f"No system holds it: the largest, {SYSTEM.flag}={largest.name}, has {largest.chips} chips "
        f"({largest.mesh[0]}x{largest.mesh[1]})."
    )


def _parallel(value: Given, mesh: tuple[int, int]) -> Kind:
    kind = next((it for it in KINDS if it == value.value), None)
    if kind is None:
        value.refuse("no such parallelism.", _choose(value.value, KINDS))
    if mesh == (1, 1):
        value.refuse("the mesh has only one chip.", f"Give a larger one, for instance {MESH.flag}=1x4.")
    try:
        degrees(mesh, kind)
    except BringupError as error:
        value.refuse(str(error))
    return kind


def _numerics(value: Given) -> str:
    if value.value not in emulated.NUMERICS:
        value.refuse("no such arithmetic.", _choose(value.value, emulated.NUMERICS))
    return value.value


def _precision(value: Given, config: pytest.Config) -> str:
    if value.value in PRESETS:
        return value.value
    if not value.value.endswith(".toml"):
        value.refuse("no such precision.", f"{_choose(value.value, PRESETS)} Or give a file, NAME.toml.")
    path = _start(value, PRECISION, config) / Path(value.value).expanduser()
    try:
        path.read_bytes()
    except OSError as error:
        value.refuse(f"can't read this file: {error.strerror or error}.", "docs/precision.md says what is in one.")
    return str(path)


def _start(value: Given, option: Option, config: pytest.Config) -> Path:
    """The folder that a relative path starts from: the project's in the ini file, else the current one."""
    return config.rootpath if value.fix == option.ini else config.invocation_params.dir


def _pcc_threshold(value: Given) -> float:
    try:
        threshold = float(value.value)
    except ValueError:
        threshold = float("nan")
    if not 0 < threshold <= 1:  # also refuses nan
        value.refuse("a PCC threshold is a number above 0 and at most 1.", f"For instance {value.fix}=0.99.")
    return threshold


def _models(value: Given) -> tuple[str, ...]:
    from pytest_ttbringup.reference import catalog

    models = tuple(dict.fromkeys(_items(value)))
    called: dict[str, str] = {}
    for model in models:
        try:
            name = catalog.resolve(model).name
        except BringupError as error:
            value.refuse(str(error))
        if name in called:
            value.refuse(
                f"{called[name]} and {model} would both be called {name!r} in test ids and on the board.",
                "Rename one of them, or run one after the other.",
            )
        called[name] = model
    return models


def _layers(value: Given, models: Sequence[str]) -> Layers:
    text = value.value.strip()
    if text == "edges":
        return "edges"
    if text == "all":
        return "all"
    items = _items(value)
    if not all(item.isascii() and item.isdigit() for item in items):
        value.refuse("not a choice of layers.", f"Give edges, all, or layer numbers from 0, as in {value.fix}=0,3,7.")
    numbers = tuple(dict.fromkeys(int(item) for item in items))
    for model in models:
        count = _layer_count(model)
        if max(numbers) >= count:
            value.refuse(
                f"{model} has {count} layers, 0 to {count - 1}.", "Give numbers in that range, or edges, or all."
            )
    return numbers


def _layer_count(model: str) -> int:
    from pytest_ttbringup.reference import catalog

    try:
        return catalog.layer_count(model)
    except BringupError as error:
        raise pytest.UsageError(str(error)) from error


def _seed(value: Given) -> int:
    text = value.value.strip()
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):  # NumPy's legacy seed takes 32 bits
        value.refuse("a seed is a whole number from 0 to 4294967295.", f"For instance {value.fix}={DEFAULT_SEED}.")
    return int(text)


def _items(value: Given) -> list[str]:
    items = [item.strip() for item in value.value.split(",")]
    if not all(items):
        value.refuse("an item of the list is empty.", f"Separate the items by single commas, as in {value.fix}=a,b.")
    return items


def _choose(wrong: str, legal: Sequence[str]) -> str:
    near = difflib.get_close_matches(wrong, legal, n=1, cutoff=0.4)
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Choose one of: {', '.join(legal)}."


def _cache_dir(value: Given | None, config: pytest.Config) -> Path:
    if value is None:
        folder = default_cache_dir()
        value = Given(str(folder), f"the default cache folder {str(folder)!r}", CACHE.flag)
    else:
        folder = _start(value, CACHE, config) / Path(value.value).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        value.refuse(
            f"can't write to this folder: {error.strerror or error} ({error.filename or folder}).",
            f"Give one that you may write with {CACHE.flag}=DIR or {CACHE.environment}.",
        )
    return folder
