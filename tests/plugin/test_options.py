"""Settings: where they come from, which values are refused, and how."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ttbringup.option_table import OPTIONS
from pytest_ttbringup.options import Settings, resolve, settings_of
from pytest_ttbringup.targets import default_target
from pytest_ttbringup.targets.emulated import DEFAULT_NUMERICS

from .conftest import LOADING, Run


@pytest.fixture
def settings(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Resolve the settings of a command line, without running anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def resolved(*arguments: str) -> Settings:
        return resolve(pytester.parseconfig(*LOADING, *arguments))

    return resolved


def test_defaults(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TTBRINGUP_TARGET")
    monkeypatch.setattr("pytest_ttbringup.targets.silicon.DEVICE_FOLDER", tmp_path / "none")
    assert settings() == Settings(
        target="emulated",
        target_reason="no Tenstorrent device found",
        system="n150",
        mesh=(1, 1),
        parallel=None,
        numerics=DEFAULT_NUMERICS,
        precision="default",
        pcc_threshold=None,
        models=("tiny-llama",),
        layers="edges",
        seed=213919,
        cache_dir=tmp_path / "ttbringup",
    )


def test_a_device_makes_silicon_the_default(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev" / "0").mkdir(parents=True)
    (tmp_path / "cards" / "tenstorrent!0").mkdir(parents=True)
    (tmp_path / "cards" / "tenstorrent!0" / "tt_card_type").write_text("n300s\n")
    monkeypatch.delenv("TTBRINGUP_TARGET")
    monkeypatch.setattr("pytest_ttbringup.targets.silicon.DEVICE_FOLDER", tmp_path / "dev")
    monkeypatch.setattr("pytest_ttbringup.targets.silicon.CARD_FOLDER", tmp_path / "cards")
    found = settings()
    assert (found.target, found.target_reason) == ("silicon", "1 Tenstorrent device found")
    assert (found.system, found.mesh) == ("n300", (1, 2))


def test_a_simulator_that_is_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TT_METAL_SIMULATOR", "libttsim_wh.so")
    assert default_target() == ("simulator", "TT_METAL_SIMULATOR is set")
    monkeypatch.setenv("TT_METAL_SIMULATOR", "")
    assert default_target()[0] != "simulator"


@pytest.mark.parametrize("target", ["silicon", "simulator"])
def test_the_made_up_system_is_for_the_emulated_target_only(settings, target: str) -> None:
    with pytest.raises(
        pytest.UsageError, match=f"custom is no machine .*; this run's is {target}.*--tt-target=emulated"
    ):
        settings(f"--tt-target={target}", "--tt-system=custom")
    assert settings("--tt-target=emulated", "--tt-system=custom").system == "custom"


def test_two_models_of_one_name_are_refused(settings, tmp_path: Path) -> None:
    paths = [tmp_path / name / "model.gguf" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    with pytest.raises(pytest.UsageError) as refused:
        settings(*(f"--tt-model={path}" for path in paths))
    assert all(str(path) in str(refused.value) for path in paths)
    assert "would both be called 'model'" in str(refused.value)
    assert settings(f"--tt-model={paths[0]}", f"--tt-model={paths[0]}").models == (str(paths[0]),)


@pytest.mark.parametrize(
    ("flag", "environment", "ini", "field", "values"),
    [
        ("--tt-target", "TTBRINGUP_TARGET", "tt_target", "target", ("emulated", "emulated", "emulated")),
        ("--tt-system", "TTBRINGUP_SYSTEM", "tt_system", "system", ("p150", "N150", "p100")),
        ("--tt-mesh", "TTBRINGUP_MESH", "tt_mesh", "mesh", ("1x1", "1X1", "1x1")),
        ("--tt-numerics", "TTBRINGUP_NUMERICS", "tt_numerics", "numerics", ("device", "exact", "bitexact")),
        ("--tt-precision", "TTBRINGUP_PRECISION", "tt_precision", "precision", ("accuracy", "performance", "default")),
        ("--pcc-threshold", "TTBRINGUP_PCC_THRESHOLD", "tt_pcc_threshold", "pcc_threshold", ("0.5", "1", "1e-3")),
        ("--tt-layers", "TTBRINGUP_LAYERS", "tt_layers", "layers", ("0,3", "all", "edges")),
        ("--tt-seed", "TTBRINGUP_SEED", "tt_seed", "seed", ("1", "2", "3")),
        ("--tt-model", "TTBRINGUP_MODEL", "tt_model", "models", ("tiny-llama", "tiny-llama-scaled", "tiny-llama")),
    ],
)
def test_command_line_then_environment_then_ini(
    settings, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, flag, environment, ini, field, values
) -> None:
    parsed = {
        "N150": "n150",
        "1x1": (1, 1),
        "1X1": (1, 1),
        "0,3": (0, 3),
        "tiny-llama": ("tiny-llama",),
        "tiny-llama-scaled": ("tiny-llama-scaled",),
    }
    if field in {"pcc_threshold", "seed"}:
        parsed = {value: float(value) for value in values}
    from_line, from_environment, from_ini = values
    monkeypatch.delenv("TTBRINGUP_TARGET")
    pytester.makeini(f"[pytest]\n{ini} = {from_ini}")
    assert getattr(settings(), field) == parsed.get(from_ini, from_ini)
    monkeypatch.setenv(environment, "")
    assert getattr(settings(), field) == parsed.get(from_ini, from_ini)
    monkeypatch.setenv(environment, from_environment)
    assert getattr(settings(), field) == parsed.get(from_environment, from_environment)
    assert getattr(settings(f"{flag}={from_line}"), field) == parsed.get(from_line, from_line)


def test_models_may_be_repeated_or_listed(settings) -> None:
    found = settings("--tt-model=tiny-llama-scaled,tiny-llama", "--tt-model=tiny-llama-scaled")
    assert found.models == ("tiny-llama-scaled", "tiny-llama")


def test_cache_of_the_command_line_and_of_the_ini_file(settings, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntt_cache = kept")
    assert settings().cache_dir == pytester.path / "kept"
    assert settings("--tt-cache=other").cache_dir == pytester.path / "other"


def test_a_precision_file_of_the_command_line_and_of_the_ini_file(settings, pytester: pytest.Pytester) -> None:
    (pytester.path / "mine.toml").touch()
    pytester.makeini("[pytest]\ntt_precision = mine.toml")
    found = settings()
    assert (found.precision, found.precision_name) == (str(pytester.path / "mine.toml"), "mine")
    assert settings("--tt-precision=mine.toml").precision == str(pytester.path / "mine.toml")


def test_settings_are_resolved_once(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = pytester.parseconfig(*LOADING)
    first = settings_of(config)
    monkeypatch.setenv("TTBRINGUP_SEED", "7")
    assert settings_of(config) is first


REFUSED = {
    "--tt-target=emulate": ("no such target", "Did you mean 'emulated'", "silicon, simulator"),
    "--tt-system=n151": ("no system is called 'n151'", "Did you mean 'n150'", "bh-galaxy"),
    "--tt-mesh=0x4": ("at least one row",),
    "--tt-mesh=4": ("ROWSxCOLUMNS",),
    "--tt-mesh=axb": ("ROWSxCOLUMNS",),
    "--tt-mesh=1x-1": ("ROWSxCOLUMNS",),
    "--tt-mesh=99x99": ("9801 chips", "n150 has 1 chip", "No system holds it", "galaxy"),
    "--tt-mesh=5x5": ("25 chips", "n150 has 1 chip", "--tt-system=custom"),
    "--tt-parallel=dp": ("the mesh has only one chip", "--tt-mesh=1x4"),
    "--tt-parallel=tensor": ("no such parallelism", "dp, tp, dpxtp"),
    "--tt-numerics=exakt": ("no such arithmetic", "Did you mean 'exact'", "device, exact, bitexact"),
    "--tt-precision=perf": ("no such precision", "Did you mean 'performance'", "accuracy, default", "NAME.toml"),
    "--tt-precision=none.toml": ("can't read this file: No such file", "docs/precision.md"),
    "--tt-precision=.toml": ("can't read this file",),
    "--pcc-threshold=2": ("above 0 and at most 1",),
    "--pcc-threshold=0": ("above 0 and at most 1",),
    "--pcc-threshold=abc": ("above 0 and at most 1",),
    "--pcc-threshold=nan": ("above 0 and at most 1",),
    "--tt-model=tiny-lama": ("tiny-lama", "Did you mean 'tiny-llama'", "smollm2-135m"),
    "--tt-model=tiny-llama,": ("an item of the list is empty",),
    "--tt-model=": ("an item of the list is empty",),
    "--tt-layers=first": ("edges, all, or layer numbers",),
    "--tt-layers=-1": ("edges, all, or layer numbers",),
    "--tt-layers=0,4": ("tiny-llama has 4 layers, 0 to 3",),
    "--tt-seed=-1": ("from 0 to 4294967295",),
    "--tt-seed=1.5": ("from 0 to 4294967295",),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_a_bad_value_is_refused_with_what_is_legal(settings, argument: str) -> None:
    with pytest.raises(pytest.UsageError) as refusal:
        settings(argument)
    message = str(refusal.value)
    assert message.startswith(argument)
    assert all(part in message for part in REFUSED[argument])
    assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "mesh", "message"),
    [
        ("dpxtp", "1x4", "a 1x4 mesh has only one row or column. Use dp or tp, or a mesh such as 2x4"),
        ("tp", "2x4", "several of both. Use a 1x8 mesh, or dpxtp: 2 instances of 4 chips"),
    ],
)
def test_a_mesh_that_can_not_be_used_so(settings, kind: str, mesh: str, message: str) -> None:
    with pytest.raises(pytest.UsageError, match=rf"^--tt-parallel={kind}: .*{message}"):
        settings("--tt-system=t3000", f"--tt-mesh={mesh}", f"--tt-parallel={kind}")


@pytest.mark.parametrize(
    ("mesh", "system"),
    [("1x1", "n150"), ("1x2", "n300"), ("2x1", "n300"), ("1x4", "t3000"), ("2x4", "t3000"), ("8x4", "galaxy")],
)
def test_a_mesh_alone_names_the_smallest_system_that_holds_it(settings, mesh: str, system: str) -> None:
    assert settings("--tt-target=emulated", f"--tt-mesh={mesh}").system == system


def test_a_mesh_larger_than_the_named_system(settings) -> None:
    with pytest.raises(
        pytest.UsageError, match=r"^--tt-mesh=2x4: needs 8 chips, but system n300 has 2 .*--tt-system=t3000"
    ):
        settings("--tt-system=n300", "--tt-mesh=2x4")


def test_parallelism_is_left_to_the_plan_unless_given(settings) -> None:
    assert settings("--tt-system=t3000").parallel is None
    assert settings("--tt-system=t3000", "--tt-mesh=1x4", "--tt-parallel=tp").parallel == "tp"


def test_the_refusal_names_the_variable_or_ini_setting(
    settings, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\ntt_mesh = 0x1")
    with pytest.raises(pytest.UsageError, match=r"^tt_mesh = 0x1 \(tox.ini\): .*tt_mesh=1x1"):
        settings()
    monkeypatch.setenv("TTBRINGUP_MESH", "1x0")
    with pytest.raises(pytest.UsageError, match=r"^TTBRINGUP_MESH=1x0 \(environment variable\): "):
        settings()


def test_a_file_in_the_way_of_the_cache(settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(pytest.UsageError, match=r"can't write to this folder: .*Give one that you may write"):
            settings(f"--tt-cache={folder}")


@pytest.mark.usefixtures("settings")
def test_a_cache_without_permission(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = pytester.parseconfig(*LOADING)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "closed"))
    (tmp_path / "closed").mkdir(mode=0o500)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(
            pytest.UsageError, match=r"default cache folder .*: can't write to this folder: Permission denied"
        ):
            resolve(config)
    finally:
        os.seteuid(user)


def test_a_filesystem_that_takes_no_files(settings) -> None:
    with pytest.raises(pytest.UsageError, match="can't write to this folder"):
        settings("--tt-cache=/proc/ttbringup")


@pytest.mark.parametrize("argument", ["--tt-mesh=99x99", "--pcc-threshold=nan", "--tt-cache=conftest.py"])
def test_pytest_stops_with_one_error_line(run: Run, pytester: pytest.Pytester, argument: str) -> None:
    pytester.makeconftest("")
    pytester.makepyfile("raise SystemExit('collected')")
    result = run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        line for line in result.errlines if line.startswith("ERROR: ")
    ]
    assert len([line for line in result.errlines if line]) == 1
    result.stdout.no_fnmatch_line("*collected*")


def test_the_names_of_tt_metals_own_options_are_free() -> None:
    theirs = {"tt-arch", "device-id", "metal-timeout", "grid-size", "input-method", "determinism-check-interval"}
    assert not theirs & {option.flag.lstrip("-") for option in OPTIONS}


def test_a_cache_folder_in_the_project_is_not_collected(run: Run, pytester: pytest.Pytester) -> None:
    """It links to the sources of TT-Metal, which hold tests of their own."""
    for folder in ("cache/emulated/main/tt_metal", "other"):
        (pytester.path / folder).mkdir(parents=True)
        (pytester.path / folder / "test_theirs.py").write_text("def test_theirs(): pass")
    result = run("--tt-cache=cache", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["other/test_theirs.py::test_theirs", "1 test collected*"])
