"""Two pytest-xdist workers side by side, each with its own emulated device."""

from __future__ import annotations

import pytest

from .conftest import Run

pytest.importorskip("xdist")


def test_two_workers(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os

        import pytest
        import torch
        import ttnn

        @pytest.mark.stage("demo")
        @pytest.mark.parametrize("number", range(8))
        def test_add(compare, mesh_device, number):
            with open("workers", "a") as workers:
                print(os.environ["PYTEST_XDIST_WORKER"], os.environ["TT_METAL_CACHE"], file=workers)
            compare(lambda x: x + x, lambda x: ttnn.add(x, x), torch.randn(32, 32) + number)
        """
    )
    result = run("-n2")
    result.assert_outcomes(passed=8)
    workers = set((pytester.path / "workers").read_text().splitlines())
    assert len(workers) == 2, "each worker has one kernel cache of its own"
    assert len({line.split()[1] for line in workers}) == 2
    result.stdout.fnmatch_lines(["ttbringup: target emulated *", "*- bring-up board -*", "-      emulated  ok 0.99*"])
    assert result.stdout.str().count("bring-up board") == 1
    assert not (pytester.path / "generated").exists()


def test_workers_share_the_cores(run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    pytester.makepyfile(
        """
        import os

        import pytest
        import torch

        @pytest.mark.parametrize("number", range(2))
        def test_threads(number):
            assert torch.get_num_threads() == max(1, os.cpu_count() // 2)
        """
    )
    run("-n2").assert_outcomes(passed=2)


def test_a_bad_setting_is_one_error_of_the_controller(run: Run) -> None:
    result = run("-n2", "--tt-mesh=axb")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.errlines if line]) == 1


def test_an_unknown_stage_is_a_collection_error_of_the_workers(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.stage('x')\ndef test_one(): pass")
    result = run("-n1")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*::test_one: stage 'x' is not on the ladder*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
