"""The ladder and the marker `stage`."""

from __future__ import annotations

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.stages import STAGES, stage_of

from .conftest import Run


def test_the_ladder_is_in_order_and_its_names_are_unique() -> None:
    assert [stage.number for stage in STAGES] == list(range(14))
    for attribute in ("name", "heading", "select"):
        assert len({getattr(stage, attribute) for stage in STAGES}) == 14


def test_no_stage_lets_more_pass_than_tenstorrents_report_on_llms() -> None:
    assert all(stage.default_pcc >= 0.99 for stage in STAGES if stage.default_pcc is not None)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_is_found_by_number_and_name(stage) -> None:
    assert stage_of(stage.number) is stage
    assert stage_of(stage.name) is stage


@pytest.mark.parametrize("key", [14, -1, True, "decode module", "2"])
def test_an_unknown_stage_is_refused_with_the_legal_ones(key) -> None:
    with pytest.raises(BringupError, match=r"is not on the ladder.*13 'tensor parallel'"):
        stage_of(key)


def test_a_stage_test_must_compare(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        import pytest

        right = np.arange(8.0)
        wrong = -right

        pytestmark = pytest.mark.stage("decode layer")

        def test_nothing():
            pass

        def test_nothing_in_the_end(compare):
            for reference in ():
                compare(reference, reference)

        def test_something(compare):
            compare(right, right)

        def test_a_check(compare):
            compare.check("holds", True)

        def test_a_failure_that_is_expected(compare):
            with pytest.raises(AssertionError):
                compare(right, wrong)
            compare(right, right)

        def test_a_failure_that_is_swallowed(compare):
            try:
                compare(right, wrong)
            except AssertionError:
                pass

        def test_tokens(teacher_forcing):
            logits = np.eye(8)
            teacher_forcing(logits, logits, np.arange(8))

        def test_skipped(compare):
            pytest.skip("for a reason")

        @pytest.mark.xfail(raises=AssertionError)
        def test_xfailed(compare):
            compare(right, wrong)

        @pytest.mark.stage("demo")
        def test_of_another_stage():
            pass
        """
    )
    pytester.makepyfile(test_other="def test_without_stage(): pass")
    result = run()
    result.assert_outcomes(passed=5, failed=4, skipped=1, xfailed=1)
    text = "this test of stage 3 'decode layer' passed, but it compared nothing, so it passes whatever*Use the fixture*"
    result.stdout.fnmatch_lines(["*_ test_nothing _*", text, "*_ test_nothing_in_the_end _*", text])
    result.stdout.fnmatch_lines(["*this test of stage 0 'demo' passed, but it compared nothing*"])
    result.stdout.fnmatch_lines(["*this test of stage 3 'decode layer' passed, but nothing it compared agreed*"])


@pytest.mark.parametrize("expression", ["stage(number=2)", "stage(name='decode modules')"])
def test_selection_by_stage_however_it_was_written(run: Run, pytester: pytest.Pytester, expression: str) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.stage("decode modules")
        def test_by_name(compare): compare.check("", True)

        @pytest.mark.stage(2)
        def test_by_number(compare): compare.check("", True)

        @pytest.mark.stage(number=2)
        def test_by_keyword(compare): compare.check("", True)

        @pytest.mark.stage(2)
        class TestClass:
            def test_of_a_class(self, compare): compare.check("", True)

            @pytest.mark.stage(7)
            def test_elsewhere(self, compare): compare.check("", True)

        @pytest.mark.stage(3)
        def test_another(compare): compare.check("", True)

        def test_none(): pass
        """
    )
    run("-m", expression, "--strict-markers").assert_outcomes(passed=4, deselected=3)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('stage("decode layr")', "stage 'decode layr' is not on the ladder. Did you mean 'decode layer'?*"),
        ("stage(99)", "stage 99 is not on the ladder. The stages, by number or name: 0 'demo', *"),
        ("stage", "the marker `stage` needs the stage, by name or number*"),
    ],
)
def test_an_unknown_stage_is_a_collection_error(run: Run, pytester: pytest.Pytester, marker: str, message: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_one(): pass")
    result = run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting*", f"test_an_unknown_stage*::test_one: {message}"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*stage_marker.py*")
