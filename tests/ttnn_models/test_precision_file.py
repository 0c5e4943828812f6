"""Precisions in TOML: what is read is what was written, and an error says where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ttnn_models.model_precision import LayerOverride, ModelPrecision, changed
from ttnn_models.precision import FORMATS, MATH, OF_THE_MODEL, SETTINGS, PrecisionConfig, format_name, legal_formats
from ttnn_models.precision_file import (
    FIDELITIES,
    as_toml,
    parse_precision,
    precision_of,
    read_precision,
    write_precision,
)
from ttnn_models.presets import PRESETS

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.options import settings_of

FILES = sorted((Path(__file__).resolve().parents[2] / "model_tests" / "precisions").glob("*.toml"))


def changes_of(names: list[str]) -> st.SearchStrategy[dict[str, object]]:
    """Settings by name; of math, some of its attributes."""
    math = st.fixed_dictionaries(
        {},
        optional={
            "fidelity": st.sampled_from(list(FIDELITIES.values())),
            "fp32_accumulation": st.booleans(),
            "l1_accumulation": st.booleans(),
            "approximate": st.booleans(),
        },
    )
    return st.fixed_dictionaries(
        {},
        optional={
            name: math if name in MATH else st.sampled_from([FORMATS[it] for it in legal_formats(name)])
            for name in names
        },
    )


LAYERS = st.one_of(
    st.integers(0, 99),
    st.sampled_from(["first", "last"]),
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda it: f"{min(it)}-{max(it)}"),
)
PRECISIONS = st.builds(
    lambda base, changes, overrides: ModelPrecision(changed(base, changes), tuple(overrides)),
    st.sampled_from(list(PRESETS.values())),
    changes_of(list(SETTINGS)),
    st.lists(
        st.builds(
            LayerOverride,
            st.lists(LAYERS, min_size=1, max_size=3).map(tuple),
            changes_of([name for name in SETTINGS if name not in OF_THE_MODEL]),
        ),
        max_size=3,
    ),
)


@given(PRECISIONS)
def test_what_is_written_is_read_back(precision: ModelPrecision) -> None:
    assert parse_precision(as_toml(precision), "test") == precision


def test_a_file_is_read_back(tmp_path: Path) -> None:
    precision = ModelPrecision(PRESETS["performance"], (LayerOverride((1, "last"), {"kv_cache": FORMATS["bfloat16"]}),))
    path = tmp_path / "folder" / "mine.toml"
    write_precision(precision, path)
    assert read_precision(path) == precision
    assert [it.name for it in path.parent.iterdir()] == ["mine.toml"]


def test_what_is_left_out_is_the_presets() -> None:
    assert parse_precision("", "test") == ModelPrecision(PrecisionConfig())
    found = parse_precision('preset = "performance"\ngate_up_math = { fidelity = "HiFi2" }', "test").model
    assert found.gate_up_math.fidelity == FIDELITIES["HiFi2"]
    assert found.gate_up_math.fp32_accumulation == PRESETS["performance"].gate_up_math.fp32_accumulation
    assert format_name(found.gate_up_weight) == "bfloat4_b"


@pytest.mark.parametrize("file", FILES, ids=lambda it: it.stem)
def test_the_files_of_the_ladder_are_precisions_of_their_own(file: Path) -> None:
    found = precision_of(str(file))
    assert all(found != ModelPrecision(preset) for preset in PRESETS.values())
    found.check(2, "a model of two layers")


def test_there_are_files_to_read() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("name", ["performence", "", "folder/default"])
def test_an_unknown_preset(name: str) -> None:
    with pytest.raises(BringupError, match=r"no such preset\..*Choose one of: accuracy, default, performance"):
        precision_of(name)


WRONG = {
    "gate_up_weight = bfloat8_b": "line 1: Invalid value .*`gate_up_weight = bfloat8_b`",
    'preset = "default"\n\nx': "line 3: Expected '=' after a key.*`x`",
    'down_weight = "bfloat4_b"\ndown_weight = "bfloat8_b"': "line 2: Cannot overwrite a value",
    'a = "x': "line 1: ",
    '# one\n\ngate_up_wieght = "bfloat8_b"': "line 3: gate_up_wieght: no such setting. Did you mean 'gate_up_weight'",
    "[default]": r"line 1: default: no such setting. Choose one of: .*, lm_head_math, preset, \[\[layers\]\]\.",
    "[[layer]]\nlayers = [1]": r"line 1: layer: no such setting. Did you mean '\[\[layers\]\]'",
    'preset = "perf"': "line 1: preset = 'perf': no such preset. Did you mean 'performance'",
    'preset = ["default"]': "line 1: preset = .*no such preset",
    'gate_up_weight = "bfp4"': "line 1: gate_up_weight = 'bfp4': .*Did you mean 'bfloat4_b'.*Choose one of: float32",
    'kv_cache = "bfloat4_b"': "line 1: kv_cache = 'bfloat4_b': no such format TT-NN takes there.*bfloat16, bfloat8_b",
    "kv_cache = 16": "line 1: kv_cache = 16",
    'logits = ["bfloat16"]': "line 1: logits = ",
    'down_math = "HiFi2"': "line 1: down_math = 'HiFi2': how an operation computes is a table",
    '[down_math]\n# so\nfidelity = "hifi2"': "line 3: down_math.fidelity = 'hifi2': .*Did you mean 'HiFi2'",
    "down_math = { fp32 = true }": "line 1: down_math.fp32: no such setting.*fp32_accumulation",
    "down_math.approximate = 1": "line 1: down_math.approximate = 1: give true or false",
    "[layers]\nx = 1": r"line 1: layers = .*stand below a line \[\[layers\]\]",
    '[[layers]]\nkv_cache = "bfloat16"': r"line 1: layers: a \[\[layers\]\] table needs a list",
    '[[layers]]\nlayers = "last"': "line 2: layers = 'last': not a list",
    '[[layers]]\nlayers = [\n  0,\n  "middle",\n]': "line 2: layers: 'middle' chooses none",
    '[[layers]]\nlayers = [0]\n\n[[layers]]\nlayers = ["3-1"]': "line 5: layers: '3-1' ends before it starts",
    '[[layers]]\nlayers = [0]\n[[layers]]\nlayers = [1]\nlogits = "float32"': "line 5: logits: belongs to the whole",
    'down_math = { fidelity = ["HiFi2"] }': "line 1: down_math.fidelity = ",
    '[[layers]]\nlayers = [0]\n[[layers]]\nlayers = [1]\nqkv_weight = "x"': "line 5: qkv_weight = 'x'",
}


@pytest.mark.parametrize("text", WRONG, ids=str)
def test_an_error_names_line_key_and_what_is_allowed(text: str) -> None:
    with pytest.raises(BringupError, match=f"^mine.toml: {WRONG[text]}") as refused:
        parse_precision(text, "mine.toml")
    assert "\n" not in str(refused.value)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(BringupError, match=r"none.toml: can't be read: No such file or directory\. docs"):
        read_precision(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BringupError, match=r"bytes.toml: can't be read: it is not text in UTF-8"):
        read_precision(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kv_cache = bfloat16", "line 1: Invalid value in `kv_cache = bfloat16`"),
        ("[[layers]]\nlayers = [0, 4]", "line 2: layer 4 of tiny-llama: it has 4 layers, 0 to 3."),
    ],
)
def test_the_ladder_stops_with_one_error_line(
    tmp_path: Path, pytestconfig: pytest.Config, text: str, said: str
) -> None:
    """Before any test is collected, and so before a device is opened."""
    (tmp_path / "mine.toml").write_text(text)
    ladder = Path(__file__).resolve().parents[2] / "model_tests"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(ladder / "test_00_demo.py")),
            *("--tt-target=emulated", f"--tt-precision={tmp_path / 'mine.toml'}"),
            f"--tt-cache={settings_of(pytestconfig).cache_dir.absolute()}",
        ],
        cwd=ladder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    [error] = [line for line in ended.stderr.splitlines() if line]
    assert error.startswith(f"ERROR: {tmp_path / 'mine.toml'}: {said}")
    assert "collected" not in ended.stdout
