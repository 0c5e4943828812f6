"""The `stage` marker: which rung of the ladder a test climbs, and that it climbs it by a comparison that agrees."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.options import settings_of
from pytest_ttbringup.reporting.records import EVIDENCE, add_record, records, stage_record
from pytest_ttbringup.run import target_of
from pytest_ttbringup.stages import Stage, stage_of

MARKER = (
    "stage(name_or_number): the rung of the bring-up ladder this test belongs to; select it with -m 'stage(number=2)'"
)


def marked_stage(node: pytest.Item) -> Stage | None:
    """The stage a test or a class or module around it is marked with, the innermost one; None without the marker.

    Raises:
        BringupError: the marker names no stage of the ladder.
    """
    mark = node.get_closest_marker("stage")
    if mark is None:
        return None
    named = [*mark.args, *(mark.kwargs[key] for key in ("number", "name") if key in mark.kwargs)]
    if not named:
        raise BringupError('the marker `stage` needs the stage, by name or number: @pytest.mark.stage("decode layer").')
    return stage_of(named[0])


def normalise_marker(item: pytest.Item) -> None:
    """Mark the item with number and name of its stage: `-m "stage(number=7)"` finds it however it was written."""
    stage = marked_stage(item)
    if stage is not None:
        item.add_marker(pytest.mark.stage(number=stage.number, name=stage.name), append=False)


def record_stage(item: pytest.Item) -> None:
    """Record, before anything can fail, which stage the item belongs to."""
    stage = marked_stage(item)
    if stage is None:
        return
    model = model_of(item)
    target = target_of(item.config)
    callspec = getattr(item, "callspec", None)
    case = "" if callspec is None or callspec.id == model else callspec.id
    record = stage_record(
        stage.number,
        model=model,
        target=target.name,
        numerics=target.arithmetic(),
        precision=settings_of(item.config).precision_name if model else "",
        test=getattr(item, "originalname", item.name).removeprefix("test_"),
        case=case.removeprefix(f"{model}-").removesuffix(f"-{model}"),
    )
    add_record(item, record)


def model_given(item: pytest.Item) -> str:
    """The model the item is parametrized with, as the user named it; empty without one."""
    callspec = getattr(item, "callspec", None)
    model = callspec.params.get("model", "") if callspec else ""
    return model if isinstance(model, str) else ""


def models_used(items: Iterable[pytest.Item]) -> list[str]:
    """The models of `--tt-model` that the items are parametrized with, as the user named them."""
    return sorted({model_given(item) for item in items if model_of(item)})


def model_of(item: pytest.Item) -> str:
    """The short name of the model the item is parametrized with, as test ids and reports show it; empty without one."""
    from pytest_ttbringup.reference import catalog

    model = model_given(item)
    if model not in settings_of(item.config).models:
        return ""  # empty, or a parametrization of the project's own
    return catalog.resolve(model).name


def require_evidence(item: pytest.Item) -> None:
    """Fail a stage test that ended well though nothing it compared agreed.

    Raises:
        pytest.fail.Exception: it left no comparison, token accuracy or check that passed.
    """
    stage = marked_stage(item)
    if stage is None:
        return
    evidence = [record["passed"] for record in records(item.user_properties, *EVIDENCE)]
    if not any(evidence):
        found = (
            "nothing it compared agreed" if evidence else "it compared nothing, so it passes whatever the model does"
        )
        pytest.fail(
            f"this test of stage {stage.number} {stage.name!r} passed, but {found}. "
            "Use the fixture compare (or compare.check, or teacher_forcing), or take its stage marker away.",
            pytrace=False,
        )
