"""What tests leave behind for the reports.

A record is a dictionary of plain types, written as JSON under the property name `ttbringup`, so that it survives
pytest-xdist and can be read from JUnit XML:

- `{"kind": "stage", "stage": 2, "model": "tiny-llama", "target": "emulated", "numerics": "exact",
  "precision": "default", "test": "decode_mlp", "case": "first"}`, one per stage test;
- `{"kind": "comparison", "name": …, "pcc": …, "threshold": …, "passed": …, "where": …, …}` from `Comparison.record`;
- `{"kind": "tokens", "top1": …, "top5": …, "kl": …, "passed": …, …}` from `TokenAccuracy.record`;
- `{"kind": "check", "name": …, "passed": …, "detail": …}` from `compare.check`;
- `{"kind": "text", "prompt": …, "text": …, "reference": …}` from `compare.text`, which proves nothing by itself;
- `{"kind": "bound", "system": …, "seconds": …, …}` from `bound_record`, computed and not measured;
- `{"kind": "memory", "device": …, "dram": {"peak": …, "size": …, "banks": …}, "l1": {…}}`, bytes of one bank.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PROPERTY = "ttbringup"

EVIDENCE = ("comparison", "tokens", "check")
"""The kinds of which a stage test must leave at least one."""


def check_record(name: str, passed: bool, detail: str) -> dict[str, Any]:
    """The record of a stage check that is not numeric, for instance that two texts are equal."""
    return {"kind": "check", "name": name, "passed": passed, "detail": detail}


def text_record(prompt: str, text: str, reference: str) -> dict[str, Any]:
    """The record of what the TT-NN model wrote, beside what the reference wrote."""
    return {"kind": "text", "prompt": prompt, "text": text, "reference": reference}


def stage_record(
    stage: int, *, model: str, target: str, test: str, case: str, numerics: str = "", precision: str = ""
) -> dict[str, Any]:
    """The record that a test belongs to a stage. `model` and `case` are empty when the test has none, `numerics` on
    targets that compute as they are built, `precision` for a test without a model.
    """
    where = {"target": target, "numerics": numerics, "precision": precision}
    return {"kind": "stage", "stage": stage, "model": model, **where, "test": test, "case": case}


def add_record(item: pytest.Item, record: dict[str, Any]) -> None:
    """Leave `record` with a test, as `record_property` does.

    Raises:
        ValueError: it holds nan or inf, which JSON has no words for.
    """
    item.user_properties.append(as_property(record))


def as_property(record: dict[str, Any]) -> tuple[str, str]:
    """Name and value of the property that holds `record`."""
    return PROPERTY, json.dumps(record, ensure_ascii=False, allow_nan=False)


def records(properties: Iterable[Any], *kinds: str) -> Iterator[dict[str, Any]]:
    """The records among a test's `user_properties`, of the kinds asked for, or of all."""
    for name, value in properties:  # tuples, or lists once they have travelled through pytest-xdist
        if name == PROPERTY:
            record = json.loads(value)
            if not kinds or record["kind"] in kinds:
                yield record
