"""Which models and layers a test runs for."""

from __future__ import annotations

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.options import Layers, settings_of


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses `model` for each `--tt-model`, and one that takes `layer` for the layers of `--tt-layers`.

    An argument that the test parametrizes itself, or a project's own fixture of that name, is left alone.
    """
    if not _is_ours(metafunc, "model") or _parametrized(metafunc, "model"):
        return
    from pytest_ttbringup.reference import catalog

    settings = settings_of(metafunc.config)
    names = {model: catalog.resolve(model).name for model in settings.models}
    if "layer" not in metafunc.fixturenames or _parametrized(metafunc, "layer"):
        metafunc.parametrize("model", settings.models, ids=names.values(), indirect=True)
        return
    cases = [
        pytest.param(model, layer, id=f"{name}-{label}")
        for model, name in names.items()
        for label, layer in _layers_of(model, settings.layers)
    ]
    metafunc.parametrize(("model", "layer"), cases, indirect=["model"])


def _layers_of(model: str, layers: Layers) -> list[tuple[str, str | int]]:
    from pytest_ttbringup.reference import catalog

    try:
        return chosen_layers(catalog.layer_count(model), layers)
    except BringupError:
        return [("first", "first")]  # the model can't be read, which is reported once, when collection ends


def chosen_layers(count: int, layers: Layers) -> list[tuple[str, str | int]]:
    """Label and value of each layer, of `count`, that tests of one layer run on: `first`, `middle`, `last`, or numbers.

    A model of two layers has no middle, and one of one layer no last either.
    """
    if layers == "edges":
        edges = {count // 2: "middle", count - 1: "last", 0: "first"}  # of two names for a layer, the later stays
        return [(edges[index], edges[index]) for index in sorted(edges)]
    return [(f"layer{number}", number) for number in (range(count) if layers == "all" else layers)]


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    definitions = metafunc._arg2fixturedefs.get(name)
    return definitions is not None and definitions[-1].func.__module__ == "pytest_ttbringup.fixtures.reference"


def _parametrized(metafunc: pytest.Metafunc, name: str) -> bool:
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if name in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return True
    return False
