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


def test_each_worker_has_an_emulated_mesh_of_its_own(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import time
        from pathlib import Path

        import pytest
        import torch
        import ttnn

        NAMES = ("gw0", "gw1")

        @pytest.mark.parametrize("number", range(2))
        def test_both_at_once(mesh_device, number):
            me = os.environ["PYTEST_XDIST_WORKER"]
            other = NAMES[1 - NAMES.index(me)]
            assert tuple(mesh_device.shape) == (1, 2)
            mapper = ttnn.ShardTensorToMesh(mesh_device, dim=0)
            mine = torch.full((2, 1, 32, 32), 1.0 + NAMES.index(me))
            there = ttnn.from_torch(mine, layout=ttnn.TILE_LAYOUT, device=mesh_device, mesh_mapper=mapper)
            Path(f"open-{me}").write_text(os.environ["TT_METAL_MOCK_CLUSTER_DESC_PATH"])
            deadline = time.monotonic() + 120
            while not Path(f"open-{other}").exists():
                assert time.monotonic() < deadline, f"{other} never held a mesh while {me} did"
                time.sleep(0.05)
            back = ttnn.to_torch(ttnn.add(there, there), mesh_composer=ttnn.ConcatMeshToTensor(mesh_device, dim=0))
            assert torch.equal(back, 2 * mine)
        """
    )
    run("-n2", "--tt-system=t3000", "--tt-mesh=1x2").assert_outcomes(passed=2)
    clusters = {(pytester.path / f"open-{name}").read_text() for name in ("gw0", "gw1")}
    assert len(clusters) == 2, "each worker mocks a cluster of its own"
