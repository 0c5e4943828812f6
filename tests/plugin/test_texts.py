"""What models wrote, below the board."""

from __future__ import annotations

from types import SimpleNamespace

from pytest_ttbringup.reporting.records import as_property, check_record, stage_record, text_record
from pytest_ttbringup.reporting.texts import text_lines


def report(*texts: dict[str, object], when: str = "call", outcome: str = "passed") -> SimpleNamespace:
    stage = stage_record(8, model="tiny-llama", target="emulated", test="coherence", case="")
    properties = [as_property(record) for record in (stage, *texts)]
    return SimpleNamespace(when=when, outcome=outcome, user_properties=properties)


def test_prompt_text_and_the_reference_where_it_differs() -> None:
    same, other = text_record("Who?", "I. ", "I."), text_record("Where?", "Here.", "There.")
    assert text_lines([report(same, other)], 80) == [
        "text of tiny-llama (emulated)",
        "  > Who?",
        "    I.",
        "    (as the reference)",
        "  > Where?",
        "    Here.",
        "    reference: There.",
    ]


def test_three_texts_at_most_and_none_twice() -> None:
    texts = [text_record(str(number), "x", "x") for number in range(9)]
    lines = text_lines([report(*texts, when="setup"), report(*texts), report(*texts, when="teardown")], 80)
    assert [line for line in lines if ">" in line] == ["  > 0", "  > 1", "  > 2"]


def test_long_texts_are_wrapped() -> None:
    lines = text_lines([report(text_record("Go on", "word " * 60, ""))], 50)
    assert all(len(line) < 50 for line in lines)
    assert "reference: " in "".join(lines)


def test_nothing_without_texts() -> None:
    assert text_lines([report()], 80) == []


def test_a_text_that_had_to_be_wrong_is_not_the_models() -> None:
    loop = (text_record("Who?", "I I I", "I."), check_record("no loop", False, ""))
    assert text_lines([report(*loop)], 80) == []
    assert "    I I I" in text_lines([report(*loop, outcome="failed")], 80)
