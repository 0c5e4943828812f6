"""Where every operation's values come from, as `ttbringup doctor --ops` and docs/operations.md say it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
import ttnn

from pytest_ttbringup.cli import main
from pytest_ttbringup.emulation import EmulationError, census
from pytest_ttbringup.emulation.golden import operation_named
from pytest_ttbringup.emulation.semantics import own_semantics
from pytest_ttbringup.emulation.signatures import overloads

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_the_page_of_operations_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--ops", "--format=md"]) == 0
    assert capsys.readouterr().out == OPERATIONS.read_text(), (
        "write it again: ttbringup doctor --ops --format=md > docs/operations.md"
    )


def test_every_operation_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    entries = census.census()
    assert sum(census.counts(entries).values()) == len(entries) == len(list(ttnn.decorators.REGISTERED_OPERATIONS))
    kinds = {entry.name: entry.kind for entry in entries}
    assert kinds["ttnn.from_torch"] == census.TRANSFER
    assert kinds["ttnn.linear"] == census.OWN
    assert kinds["ttnn.relu"] == census.GOLDEN
    assert kinds["ttnn.as_tensor"] == census.COMPOSITE
    assert kinds["ttnn.generic_op"] == census.CONTROL_PLANE
    assert main(["doctor", "--ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(entries) + len(census.KINDS)
    assert any(line.split() == ["ttnn.linear", "own", "semantics"] for line in lines)


OTHER_NAMES = {
    "ttnn.matmul": {"bias"},
    "ttnn.add": {"input_a", "input_b"},
    "ttnn.subtract": {"input_a", "input_b"},
    "ttnn.scale_causal_mask_hw_dims_softmax_in_place": {"is_causal_mask"},
    "ttnn.experimental.deepseek_grouped_gate": {"score_func"},
}
"""Parameters of our semantics that serve another operation with the same function."""


def test_semantics_take_their_arguments_by_ttnns_names() -> None:
    """A keyword under another name would be taken for one that does not matter."""
    wrong = {}
    for name, rule in own_semantics().items():
        operation = operation_named(name)
        assert operation is not None, f"{name} is no operation"
        parameters = inspect.signature(rule.function).parameters.values()
        named = [it for it in parameters if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD) and it.name != "call"]
        theirs = {parameter for places, rest in overloads(operation) for parameter in places + rest}
        unknown = {it.name for it in named} - theirs - OTHER_NAMES.get(name.removesuffix("_"), set())
        if name == "ttnn.multiply_":
            unknown -= {"input_tensor_a", "input_tensor_b"}
        if theirs and name != "ttnn.multiply" and unknown:
            wrong[name] = unknown
        assert set(rule.refuses) <= theirs | {"in0_column_offset"}, f"{name} refuses what TT-NN does not know"
    assert wrong == {}


def test_a_refused_parameter(device: ttnn.MeshDevice) -> None:
    x = ttnn.from_torch(torch.rand(1, 1, 32, 128), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
    with pytest.raises(EmulationError, match="kv_tied=True is not emulated"):
        ttnn.experimental.nlp_create_qkv_heads(x, num_heads=1, num_kv_heads=1, transpose_k_heads=False, kv_tied=True)
