"""Stage 7: token accuracy. Every step is fed the reference token, so one miss does not spoil the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from decode_inputs import texts_of_first_users
from ttnn_models.generator import Generator

from pytest_ttbringup.comparison import TokenAccuracy
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
    accuracies = accuracy_by_instance(model, generator, teacher_forcing, progress)
    assert [accuracy.positions for accuracy in accuracies] == [POSITIONS] * generator.model.parallelism.data


def accuracy_by_instance(
    model: BringupModel,
    generator: Generator,
    teacher_forcing: TeacherForcing,
    progress: Callable[[str], None],
    *,
    prefilled: int = 0,
) -> list[TokenAccuracy]:
    """The text is read by the first user of every instance, the first tokens by prefill, and each is judged."""
    text = model.passage(POSITIONS + 1)
    expected = reference_logits(model.reference, text[:-1])
    users, texts, lengths = texts_of_first_users(generator.users, text[:-1], prefilled=prefilled)
    logits = generator.forced_logits(texts, prefilled=lengths, report=progress)
    return [teacher_forcing(logits[user], expected, text[1:], top1=0.90, top5=0.99) for user in users]
