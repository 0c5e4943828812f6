"""Stage 7: token accuracy. Every step is fed the reference token, so one miss does not spoil the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ttnn_models.generator import Generator

from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.reference.generation import reference_logits
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("teacher forcing")

POSITIONS = 128


def test_teacher_forcing(
    model: BringupModel,
    generator: Generator,
    teacher_forcing: TeacherForcing,
    progress: Callable[[str], None],
) -> None:
    text = model.passage(POSITIONS + 1)
    logits = generator.forced_logits([text[:-1]], report=progress)[0]
    teacher_forcing(logits, reference_logits(model.reference, text[:-1]), text[1:], top1=0.90, top5=0.99)
