"""Workers of pytest-xdist on the silicon target: which devices each is given. The devices here are only files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.targets.device_sharing import device_groups, worker_environments
from pytest_ttbringup.targets.systems import SYSTEMS, system_of

from .conftest import Run


class TestGroups:
    @pytest.mark.parametrize(
        ("system", "mesh", "devices", "groups"),
        [
            ("n150", (1, 1), 4, ["0", "1", "2", "3"]),  # four cards, each a system of its own
            ("t3000", (1, 1), 4, ["0", "1", "2", "3"]),  # half of a board can't be opened alone
            ("t3000", (1, 2), 4, ["0", "1", "2", "3"]),
            ("t3000", (1, 3), 4, ["0,1", "2,3"]),
            ("t3000", (2, 2), 4, ["0,1", "2,3"]),
            ("t3000", (1, 5), 4, ["0,1,2,3"]),
            ("t3000", (2, 4), 4, ["0,1,2,3"]),
            ("t3000", (2, 4), 2, []),  # cards are missing
            ("p150x8", (1, 2), 8, ["0,1", "2,3", "4,5", "6,7"]),
            ("p150x8", (1, 3), 8, ["0,1,2,3", "4,5,6,7"]),
            ("p150x8", (1, 2), 5, ["0,1", "2,3"]),
            ("p300", (1, 1), 4, ["0,1", "2,3"]),  # two cards, both chips of each on PCI Express
            ("galaxy", (1, 1), 32, [",".join(map(str, range(32)))]),
        ],
    )
    def test_whole_boards_and_chips_enough(
        self, system: str, mesh: tuple[int, int], devices: int, groups: list[str]
    ) -> None:
        assert device_groups(system_of(system), mesh, devices) == groups

    @pytest.mark.parametrize("system", [it for it in SYSTEMS if it.boards > 1], ids=lambda it: it.name)
    def test_no_device_is_in_two_groups(self, system) -> None:
        for cols in range(1, system.chips + 1):
            groups = device_groups(system, (1, cols), system.boards)
            numbers = [int(number) for group in groups for number in group.split(",")]
            assert sorted(numbers) == list(range(len(numbers)))
            assert len(numbers) <= system.boards


class TestEnvironments:
    def test_kernel_caches_are_apart_and_stay_where_the_user_wants_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def folders() -> list[str]:
            given = worker_environments(system_of("t3000"), (2, 2), 4, 2, tmp_path)
            return [environment["TT_METAL_CACHE"] for environment in given]

        assert folders() == [f"{tmp_path}/silicon/devices-0-1/", f"{tmp_path}/silicon/devices-2-3/"]
        monkeypatch.setenv("TT_METAL_CACHE", "/mine/")
        assert folders() == ["/mine/devices-0-1/", "/mine/devices-2-3/"]

    @pytest.mark.parametrize("name", ["TT_VISIBLE_DEVICES", "TT_METAL_VISIBLE_DEVICES"])
    def test_what_the_user_chose_is_for_one_worker(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, "1")
        assert worker_environments(system_of("n150"), (1, 1), 4, 1, tmp_path) == [{}]
        with pytest.raises(BringupError, match=f"^{name} is '1', and 2 pytest-xdist workers .*Unset it"):
            worker_environments(system_of("n150"), (1, 1), 4, 2, tmp_path)

    @pytest.mark.parametrize(
        ("system", "mesh", "devices", "message"),
        [
            ("n150", (1, 1), 1, r"but 1 PCI Express device is present \(.*, 1 chip to a board\).* Use -n 1 at most\.$"),
            ("t3000", (1, 2), 4, r"enough for 4 with a 1x2 mesh each\. Use -n 4 at most\.$"),  # 1x1 takes a board, too
            ("t3000", (2, 4), 2, r"enough for 0 with a 2x4 mesh each\. Use -n 1 at most\.$"),
        ],
    )
    def test_what_is_advised_would_help(
        self, system: str, mesh: tuple[int, int], devices: int, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(BringupError, match=message):
            worker_environments(system_of(system), mesh, devices, 5, tmp_path)

    def test_a_galaxy_is_not_divided(self, tmp_path: Path) -> None:
        with pytest.raises(BringupError, match=r"no part of a Galaxy \(galaxy\) as a machine. Use -n 1\."):
            worker_environments(system_of("galaxy"), (1, 1), 32, 2, tmp_path)


class TestWorkers:
    """Through pytest, with workers that are real."""

    @pytest.fixture
    def silicon(self, run: Run, pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
        """Run tests that write down what they see, on a T3000 whose four device nodes don't start at 0."""
        pytest.importorskip("xdist")
        (pytester.path / "dev").mkdir()
        for number in (4, 5, 6, 7):
            (pytester.path / "dev" / str(number)).touch()
        pytester.makepyfile(
            fake_devices="""
            from pathlib import Path
            from pytest_ttbringup.targets import silicon
            silicon.DEVICE_FOLDER = Path(__file__).parent / "dev"
            """
        )
        # The conftest file, because it may be what imports ttnn, and TT-NN takes its devices then.
        pytester.makeconftest(
            """
            import os
            import sys
            assert "ttnn" not in sys.modules
            AT_START = (os.environ.get("TT_VISIBLE_DEVICES"), os.environ.get("TT_METAL_CACHE"))
            """
        )
        pytester.makepyfile(
            """
            import os
            import pytest
            from conftest import AT_START

            def test_crash():
                if os.environ.get("PYTEST_XDIST_WORKER") == "gw0" and os.path.exists("crash"):
                    os._exit(1)

            @pytest.mark.parametrize("number", range(2))
            def test_seen(number):
                with open("seen", "a") as seen:
                    print(os.environ.get("PYTEST_XDIST_WORKER"), *AT_START, file=seen)
            """
        )
        return lambda *arguments: run(
            "-p", "fake_devices", "--tt-target=silicon", "--tt-system=t3000", "--dist=each", *arguments
        )

    def _seen(self, pytester: pytest.Pytester) -> dict[str, str]:
        """By worker, what every one of its tests saw in TT_VISIBLE_DEVICES."""
        lines = set((pytester.path / "seen").read_text().splitlines())
        assert len({line.split()[0] for line in lines}) == len(lines), "a worker sees the same in every test"
        return {line.split()[0]: line.split()[1] for line in lines}

    def test_each_has_its_own_devices(self, silicon, pytester: pytest.Pytester) -> None:
        silicon("-n2", "--tt-mesh=1x4").assert_outcomes(passed=6)
        assert self._seen(pytester) == {"gw0": "0,1", "gw1": "2,3"}

    def test_one_that_replaces_another_has_its_devices(self, silicon, pytester: pytest.Pytester) -> None:
        (pytester.path / "crash").touch()
        silicon("-n2", "--tt-mesh=1x4")
        assert self._seen(pytester) == {"gw1": "2,3", "gw2": "0,1"}

    @pytest.mark.parametrize("workers", ["-n1", "-n0"])
    def test_alone_it_has_all(self, silicon, pytester: pytest.Pytester, workers: str) -> None:
        silicon(workers).assert_outcomes(passed=3)
        assert set(self._seen(pytester).values()) == {"None"}

    def test_too_many_is_one_error_before_a_worker_starts(self, silicon, pytester: pytest.Pytester) -> None:
        result = silicon("-n3", "--tt-mesh=2x2")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (error,) = (line for line in result.errlines if line)
        assert error == (
            "ERROR: 3 pytest-xdist workers need devices of their own, but 4 PCI Express devices are present (system "
            "t3000, 2 chips to a board), enough for 2 with a 2x2 mesh each. Use -n 2 at most, or a smaller --tt-mesh."
        )
        assert not (pytester.path / "seen").exists()

    def test_the_users_own_devices_are_one_error(
        self, silicon, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TT_VISIBLE_DEVICES", "0000:01:00.0")
        result = silicon("-n2")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: TT_VISIBLE_DEVICES is '0000:01:00.0', and 2 pytest-xdist workers *"])
        assert not (pytester.path / "seen").exists()
