"""The fixtures `compare` and `teacher_forcing`: what they run, assert and record."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from .conftest import Run


def recorded(path) -> dict[str, list[dict]]:
    """The plugin's records of each test but those of memory, from a JUnit file."""
    found: dict[str, list[dict]] = {}
    for case in ET.parse(path).iter("testcase"):
        values = [it.get("value") for it in case.iter("property") if it.get("name") == "ttbringup"]
        entries = [json.loads(value) for value in values]
        found[case.get("name")] = [entry for entry in entries if entry["kind"] != "memory"]
    return found


def test_compare(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        import torch
        import ttnn

        def double(x):
            return ttnn.add(x, x)

        def wrong(x):
            return ttnn.mul(x, x)

        def test_callables(compare):
            comparison = compare(lambda x: 2 * x, double, torch.randn(1, 1, 32, 64))
            assert comparison.dtype == "bfloat16" and comparison.pcc > 0.999

        def test_tensors(compare, mesh_device):
            x = torch.randn(32, 64)
            y = ttnn.from_torch(x, dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT, device=mesh_device)
            compare(2 * x, double(y))
            compare(2 * x, 2 * x)

        def test_wrong(compare):
            compare(lambda x: 2 * x, wrong, torch.randn(1, 1, 32, 64), axes=(None, None, "user", "dim"))

        def test_one_user_wrong(compare):
            def shifted(x):
                y = 2 * x
                y[17] = y[17].roll(1)
                return y
            compare(shifted, double, torch.randn(32, 64), axes=("user", "dim"), name="shifted")

        def test_a_reference_that_writes_into_its_input(compare):
            compare(lambda x: x.mul_(2), double, torch.randn(32, 64))

        def test_ttnn_inputs(compare, device):
            x = ttnn.from_torch(torch.randn(32, 64), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
            compare(lambda x: x + x, double, x)

        def test_integers(compare, mesh_device):
            def tokens(ids, negative):
                assert (ids.dtype, ids.layout) == (ttnn.uint32, ttnn.ROW_MAJOR_LAYOUT)
                assert (negative.dtype, negative.layout) == (ttnn.int32, ttnn.ROW_MAJOR_LAYOUT)
                assert ids.device() is not None
                return ids, negative
            compare(lambda *it: it, tokens, torch.arange(64).reshape(1, 64), -torch.arange(64).reshape(1, 64))

        def test_structures(compare):
            def both(x, n): return {"a": n * x, "b": [x]}
            def same(x, n): return {"a": double(x), "b": (x,)}
            compare(both, same, torch.randn(32, 32), 2)

        def test_structures_that_differ(compare):
            compare(lambda x: (x, x), lambda x: x, torch.randn(32, 32))

        def test_no_gradients(compare):
            module = torch.nn.Linear(32, 32, bias=False)
            def linear(x):
                assert not torch.is_grad_enabled()
                w = module.weight.T.contiguous()
                return ttnn.linear(x, ttnn.from_torch(w, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=x.device()))
            compare(module, linear, torch.randn(32, 32))

        def test_no_mesh_is_opened_for_nothing(compare, request):
            compare(torch.arange(8.0), lambda n: torch.arange(n), 8.0)
            assert "mesh_device" not in request.node.funcargs and "_mesh_pool" not in request.fixturenames

        def test_check(compare):
            compare.check("it holds", True)
            compare.check("the texts are equal", "a" == "b", "'a' instead of 'b'")
        """
    )
    result = run("--junitxml=out.xml", "-o", "junit_family=xunit1")
    failing = {"test_wrong", "test_one_user_wrong", "test_structures_that_differ", "test_check"}
    records = recorded(pytester.path / "out.xml")
    result.assert_outcomes(passed=len(records) - len(failing), failed=len(failing))
    for name, entries in records.items():
        assert entries, name
        assert all(entry["passed"] for entry in entries) == (name not in failing), name
    assert [entry["passed"] for entry in records["test_check"]] == [True, False]
    assert records["test_one_user_wrong"][0]["name"] == "shifted"
    assert records["test_one_user_wrong"][0]["where"] == "user 17"
    assert records["test_callables"][0]["name"] == "callables"
    assert records["test_callables"][0]["shape"] == [1, 1, 32, 64]
    result.stdout.re_match_lines([r"E       PCC -?0\.\d+ < 0.999   wrong   \[1, 1, 32, 64\] bfloat16 against float32"])
    result.stdout.re_match_lines([r"FAILED .*::test_wrong - PCC "])
    result.stdout.fnmatch_lines(["E  *the texts are equal: 'a' instead of 'b'"])
    result.stdout.fnmatch_lines(["E  *instead of a tuple of 2*"])
    result.stdout.no_fnmatch_line("*fixtures/compare.py*")


def test_thresholds(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        import numpy as np

        x = np.random.RandomState(1).randn(64)

        def test_of_no_stage(compare):
            assert compare(x, x).pcc_threshold == 0.999

        @pytest.mark.stage("decode layer")
        def test_of_the_stage(compare):
            assert compare(x, x).pcc_threshold == 0.998

        @pytest.mark.stage("coherence")
        def test_of_a_stage_without(compare):
            assert compare(x, x).pcc_threshold == 0.999

        @pytest.mark.stage("decode layer")
        def test_of_the_argument(compare):
            assert compare(x, x, pcc_threshold=0.75).pcc_threshold == 0.75
        """
    )
    run().assert_outcomes(passed=4)
    run("--pcc-threshold=0.5").assert_outcomes(failed=4)


def test_a_negative_control_keeps_the_threshold_of_its_rung(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        import pytest
        from pytest_ttbringup.fixtures.compare import Compare
        from pytest_ttbringup.stages import stage_of

        x = np.random.RandomState(1).randn(64)

        def test_of_a_rung(request):
            assert Compare(request, rung=stage_of("decode layer"))(x, x).pcc_threshold == 0.998
        """
    )
    run("--pcc-threshold=0.5").assert_outcomes(passed=1)


def test_scale_and_offset_are_judged_unless_switched_off(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        import pytest

        x = np.random.RandomState(1).randn(64)

        @pytest.mark.parametrize("wrong", [0.96 * x, 1.05 * x, 2 * x, x + 5])
        def test_wrong(compare, wrong):
            compare(x, wrong)

        def test_switched_off(compare):
            compare(x, 2 * x, max_scale_error=None)
            compare(x, x + 5, max_offset_error=None)

        def test_tokens_off_by_one(compare):
            compare(np.arange(64), np.arange(64) + 1)

        def test_nothing_returned(compare):
            compare(lambda: None, lambda: None)
        """
    )
    result = run("--pcc-threshold=0.9")
    result.assert_outcomes(passed=1, failed=6)
    result.stdout.re_match_lines_random(
        [
            r"E +scale 0.9600 is off by more than 0.02.*",
            r"E +offset 5 is .* of the reference's RMS, more than 0.02.*",
            r"E +64 of 64 elements differ.*",
            r"E +nothing to compare: output and reference are both None.*",
        ]
    )


def test_the_users_threshold_wins(run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        """
        import numpy as np

        x, noise = np.random.RandomState(1).randn(2, 64 * 1024)

        def test_one(compare):
            assert compare(x, x + 0.2 * noise, pcc_threshold=0.9999).pcc_threshold == 0.9
        """
    )
    run().assert_outcomes(failed=1)
    run("--pcc-threshold=0.9").assert_outcomes(passed=1)
    monkeypatch.setenv("TTBRINGUP_PCC_THRESHOLD", "0.9")
    run().assert_outcomes(passed=1)


def test_teacher_forcing(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np

        reference = np.random.RandomState(1).randn(1, 40, 64)
        tokens = reference.argmax(-1)
        shifted = reference.copy()
        shifted[0, :8] = -shifted[0, :8]

        def test_right(teacher_forcing):
            accuracy = teacher_forcing(reference.reshape(1, 1, 40, 64), reference, tokens)
            assert (accuracy.top1, accuracy.top5, accuracy.positions) == (1.0, 1.0, 40)

        def test_wrong(teacher_forcing):
            teacher_forcing(shifted, reference, tokens)

        def test_too_sure(teacher_forcing):
            teacher_forcing(2 * reference, reference, tokens)

        def test_nan(teacher_forcing):
            broken = reference.copy()
            broken[0, 3, 5] = np.nan
            teacher_forcing(broken, reference, tokens, top1=0.0, top5=0.0, kl=9)

        def test_wrong_but_asked_for_less(teacher_forcing):
            assert teacher_forcing(shifted, reference, tokens, top1=0.8, top5=0.8, kl=9).top1 == 0.8
        """
    )
    result = run("--junitxml=out.xml", "-o", "junit_family=xunit1")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "E  *token accuracy not reached   wrong   40 positions",
            "E  *top-1 *80.0%, at least 90.0%",
            "E  *top-5 *80.0%, at least 99.0%",
            "E  *top-1 missed at *0, 1, 2, 3, 4, 5, 6, 7",
        ]
    )
    result.stdout.re_match_lines(
        [r"E  +top-1 +100.0%, .*", r"E  +top-5 +100.0%, .*", r"E  +KL divergence +0\.\d+, at most 0.05"]
    )
    records = recorded(pytester.path / "out.xml")
    assert records["test_right"][0]["kind"] == "tokens"
    assert [records[name][0]["passed"] for name in ("test_right", "test_wrong")] == [True, False]
    assert records["test_wrong"][0]["top1"] == 0.8
