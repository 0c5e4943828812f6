"""The bound of a decode step below the board."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_ttbringup.reporting.bounds import bound_lines, bound_record
from pytest_ttbringup.reporting.records import as_property, stage_record

BOUND = bound_record("n150", chips=1, users=32, position=128, operations=583, seconds=0.001)


def report(*bounds: dict[str, object], when: str = "call") -> SimpleNamespace:
    stage = stage_record(11, model="tiny-llama", target="emulated", test="performance", case="")
    return SimpleNamespace(when=when, user_properties=[as_property(record) for record in (stage, *bounds)])


def test_one_line_for_each_model_however_often_it_was_recorded() -> None:
    (line,) = bound_lines([report(BOUND, when="setup"), report(BOUND), report(BOUND)])
    assert line == (
        "bound of tiny-llama on n150: at most 1000.0 tokens/s/user and 32000 tokens/s, 32 users at position 128 "
        "(roofline of the 583 operations issued; not measured)"
    )
    assert bound_lines([report()]) == []


def test_several_chips_are_named() -> None:
    (line,) = bound_lines([report({**BOUND, "system": "n300", "chips": 2})])
    assert line.startswith("bound of tiny-llama on 2 chips of n300: ")


def test_the_fixture_records_a_step(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, torch, ttnn

        @pytest.mark.stage("performance")
        def test_step(mesh_device, decode_bound, compare):
            x = ttnn.from_torch(torch.zeros(1, 1, 32, 576), layout=ttnn.TILE_LAYOUT, dtype=ttnn.bfloat16,
                                device=mesh_device)
            with decode_bound(32, 128):
                ttnn.add(x, x)
            compare.check("it ran", True)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    # 18 tiles read twice (the same operand is given twice) and written once: 110592 bytes at 288 GB/s
    result.stdout.fnmatch_lines(
        ["bound of tests on n150: at most 2604166.7 tokens/s/user and * (roofline of the 1 operations issued; *"]
    )
