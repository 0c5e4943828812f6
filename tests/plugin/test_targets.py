"""Targets: what each checks and sets before TT-NN is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.options import Settings
from pytest_ttbringup.targets import Target, default_system, silicon, simulator, target_for
from pytest_ttbringup.targets.systems import SYSTEMS, system_holding, system_of

from .conftest import LOADING, Run


def target(name: str, cache_dir: Path, system: str = "n150") -> Target:
    mesh = system_of(system).mesh
    settings = Settings(
        target=name,
        target_reason="test",
        system=system,
        mesh=mesh,
        parallel=None,
        numerics="exact",
        precision="default",
        pcc_threshold=None,
        models=("tiny-llama",),
        layers="edges",
        seed=0,
        cache_dir=cache_dir,
    )
    return target_for(settings)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what `prepare` sets."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


class TestSystems:
    def test_each_system_holds_its_own_mesh_exactly(self) -> None:
        for system in SYSTEMS:
            assert system.mesh[0] * system.mesh[1] == system.chips or system.name == "custom"
            assert system.chips % system.boards == 0

    def test_the_figures_of_the_vendors_data_sheets(self) -> None:
        totals = {it.name: (it.chips * it.dram_gib_per_chip, it.chips * it.dram_bandwidth_gb_s) for it in SYSTEMS}
        assert totals["n150"] == (12, 288)
        assert totals["n300"] == (24, 576)
        assert totals["p100"] == (28, 448)
        assert totals["p150"] == (32, 512)
        assert totals["bh-galaxy"] == (1024, 16384)

    def test_names_and_aliases_are_unique_and_found_in_any_case(self) -> None:
        names = [name for system in SYSTEMS for name in (system.name, *system.aliases)]
        assert len(names) == len(set(names))
        assert system_of("LoudBox") is system_of("t3000")

    def test_the_smallest_system_that_holds_a_mesh(self) -> None:
        assert system_holding((1, 2), arch="wormhole_b0") is system_of("n300")
        assert system_holding((1, 3), arch="blackhole") is system_of("p150x4")
        assert system_holding((1, 33), arch="blackhole") is None


class TestSilicon:
    @pytest.fixture
    def machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """A machine with these cards, as the driver shows it."""
        monkeypatch.setattr(silicon, "DEVICE_FOLDER", tmp_path / "dev")
        monkeypatch.setattr(silicon, "CARD_FOLDER", tmp_path / "cards")

        def with_cards(*types: str) -> None:
            (tmp_path / "dev" / "by-id").mkdir(parents=True)
            for number, card in enumerate(types):
                (tmp_path / "dev" / str(number)).touch()
                (tmp_path / "cards" / f"tenstorrent!{number}").mkdir(parents=True)
                (tmp_path / "cards" / f"tenstorrent!{number}" / "tt_card_type").write_text(f"{card}\n")

        return with_cards

    def test_without_a_device_it_fails_and_says_where_it_looked(self, machine, tmp_path: Path) -> None:
        for _ in range(2):
            with pytest.raises(BringupError, match=r"no Tenstorrent device is present: looked for .*dev/0"):
                target("silicon", tmp_path).prepare()
            machine() if not (tmp_path / "dev").exists() else None  # then a driver without devices

    @pytest.mark.parametrize(
        ("cards", "system"),
        [
            (["n150"], "n150"),
            (["n300s"], "n300"),
            (["n300s"] * 4, "t3000"),
            (["p100a"], "p100"),
            (["p150b"], "p150"),
            (["p150a"] * 4, "p150x4"),
            (["p150a"] * 8, "p150x8"),
            (["p300c"] * 2, "p300"),
        ],
    )
    def test_the_system_is_known_by_its_cards(self, machine, cards: list[str], system: str) -> None:
        machine(*cards)
        assert default_system("silicon").name == system

    @pytest.mark.parametrize("cards", [["n300s"] * 2, ["n150", "p150a"], ["e75"]])
    def test_unknown_cards_have_to_be_named(self, machine, cards: list[str]) -> None:
        machine(*cards)
        with pytest.raises(BringupError, match=r"can't tell which system this is: .*Name it with --tt-system"):
            default_system("silicon")

    def test_a_mock_or_simulator_in_the_environment_is_refused(self, machine, tmp_path: Path) -> None:
        machine("n150")
        target("silicon", tmp_path).prepare()
        os.environ["TT_METAL_MOCK_CLUSTER_DESC_PATH"] = "cluster.yaml"
        with pytest.raises(BringupError, match="Unset them"):
            target("silicon", tmp_path).prepare()

    def test_pytest_fails_and_skips_nothing(self, run: Run, pytester: pytest.Pytester, no_device) -> None:
        pytester.makepyfile("def test_one(mesh_device): pass")
        result = run("--tt-target=silicon", *no_device)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: the silicon target was asked for, but no Tenstorrent device is present*"])
        result.stdout.no_fnmatch_line("*skipped*")


class TestSimulator:
    @pytest.fixture
    def ttsim(self, tmp_path: Path) -> Path:
        """Everything the simulator needs, as far as files go; its library's path is set."""
        library = tmp_path / "sim" / "libttsim_wh.so"
        compiler = tmp_path / "root" / "runtime" / "sfpi" / "compiler" / "bin" / "riscv-tt-elf-g++"
        for file in (library, compiler):
            file.parent.mkdir(parents=True)
            file.touch()
        (library.parent / "soc_descriptor.yaml").write_text("grid:\n  x_size: 10\narch_name: WORMHOLE_B0\n")
        os.environ["TT_METAL_SIMULATOR"] = str(library)
        os.environ["TT_METAL_RUNTIME_ROOT"] = str(tmp_path / "root")
        return library

    @pytest.mark.usefixtures("ttsim")
    def test_it_asks_for_slow_dispatch(self, tmp_path: Path) -> None:
        target("simulator", tmp_path).prepare()
        assert os.environ["TT_METAL_SLOW_DISPATCH_MODE"] == "1"
        assert os.environ["TT_METAL_DISABLE_SFPLOADMACRO"] == "1"
        assert Path(os.environ["TT_METAL_LOGS_PATH"]) == tmp_path / "logs"
        assert default_system("simulator").name == "n150"

    def test_the_variable_is_not_set(self, tmp_path: Path) -> None:
        with pytest.raises(BringupError, match="TT_METAL_SIMULATOR is not set"):
            target("simulator", tmp_path).prepare()

    @pytest.mark.parametrize("value", ["missing.so", "."])
    def test_the_library_is_missing(self, tmp_path: Path, value: str) -> None:
        os.environ["TT_METAL_SIMULATOR"] = value
        with pytest.raises(BringupError, match=f"TT_METAL_SIMULATOR is '{value}', which is no shared library"):
            target("simulator", tmp_path).prepare()

    def test_the_soc_descriptor_is_missing_or_strange(self, ttsim: Path, tmp_path: Path) -> None:
        descriptor = ttsim.parent / "soc_descriptor.yaml"
        descriptor.write_text("arch_name: QUASAR\n")
        with pytest.raises(BringupError, match="names the architecture 'quasar'; expected wormhole_b0 or blackhole"):
            target("simulator", tmp_path).prepare()
        descriptor.unlink()
        with pytest.raises(BringupError, match=r"there is no .*soc_descriptor.yaml.*Copy wormhole_b0_80_arch.yaml"):
            target("simulator", tmp_path).prepare()

    @pytest.mark.usefixtures("ttsim")
    def test_the_system_has_another_architecture(self, tmp_path: Path) -> None:
        with pytest.raises(BringupError, match=r"stands for wormhole_b0, but system 'p150' is blackhole.*=n150"):
            target("simulator", tmp_path, "p150").prepare()

    @pytest.mark.usefixtures("ttsim")
    def test_the_compiler_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(simulator, "SYSTEM_COMPILER", tmp_path / "opt")
        os.environ["TT_METAL_RUNTIME_ROOT"] = str(tmp_path / "elsewhere")
        with pytest.raises(
            BringupError, match=r"there is no compiler/bin/riscv-tt-elf-g\+\+ in '.*elsewhere.*' or '.*opt'"
        ):
            target("simulator", tmp_path).prepare()

    @pytest.mark.usefixtures("ttsim")
    def test_the_compiler_of_the_installed_ttnn_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "packages" / "ttnn"
        (package / "runtime/sfpi/compiler/bin").mkdir(parents=True)
        (package / "runtime/sfpi/compiler/bin/riscv-tt-elf-g++").touch()
        (package / "__init__.py").touch()
        del os.environ["TT_METAL_RUNTIME_ROOT"]
        monkeypatch.setattr(simulator, "SYSTEM_COMPILER", tmp_path / "opt")
        monkeypatch.syspath_prepend(package.parent)
        assert package in simulator.require_compiler().parents


class TestEveryTarget:
    def test_ttnn_must_not_be_imported_yet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ttnn", ModuleType("ttnn"))
        with pytest.raises(BringupError, match="ttnn was imported before the emulated target was set up"):
            target("emulated", tmp_path).prepare()

    def test_pytest_says_so_in_one_line(self, run: Run, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(early="import sys, types\nsys.modules['ttnn'] = types.ModuleType('ttnn')")
        result = run("-p", "early")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: ttnn was imported before the emulated target was set up*"])

    def test_a_conftest_may_import_ttnn(self, run: Run, pytester: pytest.Pytester) -> None:
        pytester.makeconftest("import ttnn")
        pytester.makepyfile("def test_one(mesh_device): assert mesh_device.get_num_devices() == 1")
        run().assert_outcomes(passed=1)

    def test_logs_stay_out_of_the_terminal_and_the_working_directory(self, tmp_path: Path) -> None:
        os.environ["TT_LOGGER_LEVEL"] = "trace"
        target("emulated", tmp_path).prepare()
        assert os.environ["TT_LOGGER_LEVEL"] == "trace", "what the user set counts"
        assert os.environ["LOGURU_LEVEL"] == "WARNING"
        assert tmp_path in Path(os.environ["TT_METAL_LOGS_PATH"]).parents

    def test_every_system_is_emulated(self, run: Run) -> None:
        result = run("--tt-system=galaxy")
        result.stdout.fnmatch_lines(["ttbringup: target emulated (wormhole_b0, galaxy, mesh 8x4)*"])

    def test_the_environment_is_as_before_when_pytest_is_done(self, pytester: pytest.Pytester, cache_dir: Path) -> None:
        before = dict(os.environ)
        config = pytester.parseconfigure(*LOADING, f"--tt-cache={cache_dir}")
        assert "TT_METAL_MOCK_CLUSTER_DESC_PATH" in os.environ
        os.environ["SET_BY_A_TEST"] = "1"
        config._ensure_unconfigure()
        assert os.environ == before | {"SET_BY_A_TEST": "1"}
