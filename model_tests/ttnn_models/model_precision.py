"""The precision of a whole model: one for all of it, and what some layers have otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_ttbringup.errors import BringupError

from .precision import MATH, OF_THE_MODEL, PrecisionConfig

LayerChoice = int | str
"""A layer from 0, `first`, `last`, or a range such as `4-7`, both ends included."""

HOW_TO_CHOOSE = 'Layers are numbers from 0, "first", "last", or ranges such as "4-7".'


@dataclass(frozen=True)
class LayerOverride:
    """What some layers have otherwise.

    Attributes:
        layers: which.
        changes: settings of `PrecisionConfig` by name: a format, or for math a mapping with the attributes of
            `MathConfig` that change.
        place: where it was written, for errors; empty if nowhere.

    Raises:
        BringupError: no layers, something that chooses none, or a setting that no layer has of its own.
    """

    layers: tuple[LayerChoice, ...]
    changes: Mapping[str, Any]
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be no override of any model."""
        if not self.layers:
            raise BringupError(f"{self.place}layers = []: an override is for at least one layer. {HOW_TO_CHOOSE}")
        for layer in self.layers:
            _span(layer, self.place)
        shared = sorted(set(self.changes) & OF_THE_MODEL)
        if shared:
            raise BringupError(f"{self.place}{shared[0]} belongs to the whole model, so no layer can have its own.")

    def chooses(self, index: int, num_layers: int) -> bool:
        """Whether layer `index` of so many is meant."""
        return any(index in _numbers(layer, num_layers, self.place) for layer in self.layers)


@dataclass(frozen=True)
class ModelPrecision:
    """A `PrecisionConfig` for the model, and one for each layer.

    Attributes:
        model: of all that is in no layer, and of every layer without overrides.
        overrides: applied in their order, so that of two for a layer the later wins.
    """

    model: PrecisionConfig
    overrides: tuple[LayerOverride, ...] = ()

    @classmethod
    def of(cls, precision: ModelPrecision | PrecisionConfig) -> ModelPrecision:
        """The same for all layers, unless it is known for each already."""
        return precision if isinstance(precision, ModelPrecision) else cls(precision)

    def of_layer(self, index: int, num_layers: int) -> PrecisionConfig:
        """What layer `index` of `num_layers` has.

        Raises:
            BringupError: an override names a layer that the model does not have.
        """
        precision = self.model
        for override in self.overrides:
            if override.chooses(index, num_layers):
                precision = changed(precision, override.changes)
        return precision

    def check(self, num_layers: int, model: str) -> None:
        """Refuse overrides of layers that this model does not have.

        Raises:
            BringupError: there are some; the message says where they were written.
        """
        for override in self.overrides:
            for layer in override.layers:
                if (last := _span(layer, override.place)[1]) >= num_layers:
                    raise BringupError(
                        f"{override.place}layer {last} of {model}: it has {num_layers} layers, 0 to {num_layers - 1}."
                    )


def changed(precision: PrecisionConfig, changes: Mapping[str, Any]) -> PrecisionConfig:
    """`precision` with some settings otherwise; of math, only the attributes given change."""
    return replace(
        precision,
        **{name: replace(getattr(precision, name), **it) if name in MATH else it for name, it in changes.items()},
    )


def _span(layer: LayerChoice, place: str) -> tuple[int, int]:
    """First and last layer, as far as they are known without the model: `first` and `last` say nothing, (0, 0)."""
    if layer in ("first", "last"):
        return 0, 0
    ends = re.fullmatch(r"(\d+)(?:-(\d+))?", str(layer), re.ASCII)
    if isinstance(layer, bool) or not ends or (isinstance(layer, str) and not ends[2]):
        raise BringupError(f"{place}layers: {layer!r} chooses none. {HOW_TO_CHOOSE}")
    start, end = int(ends[1]), int(ends[2] or ends[1])
    if end < start:
        raise BringupError(f"{place}layers: {layer!r} ends before it starts; write {end}-{start}.")
    return start, end


def _numbers(layer: LayerChoice, num_layers: int, place: str) -> range:
    if layer == "first":
        return range(1)
    if layer == "last":
        return range(num_layers - 1, num_layers)
    start, end = _span(layer, place)
    return range(start, end + 1)
