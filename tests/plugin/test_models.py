"""`model`, `reference` and the argument `layer`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ttbringup.parametrization import chosen_layers

from .conftest import Run


@pytest.mark.parametrize(
    ("count", "labels"),
    [
        (1, ["first"]),
        (2, ["first", "last"]),
        (3, ["first", "middle", "last"]),
        (30, ["first", "middle", "last"]),
    ],
)
def test_the_edges_of_a_model(count: int, labels: list[str]) -> None:
    assert chosen_layers(count, "edges") == [(label, label) for label in labels]


def test_all_layers_and_some() -> None:
    assert chosen_layers(3, "all") == [("layer0", 0), ("layer1", 1), ("layer2", 2)]
    assert chosen_layers(30, (29, 0)) == [("layer29", 29), ("layer0", 0)]


def collected(result: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def test_parametrization(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def attention(model): ...

        def test_model(model): ...

        def test_by_way_of_a_fixture(attention): ...

        def test_layers(model, layer): ...

        @pytest.mark.parametrize(("layer", "position"), [("first", 0), ("last", 7)])
        def test_own_layers(model, layer, position): ...

        @pytest.mark.parametrize("layer", [1])
        def test_layer_without_model(layer): ...
        """
    )
    assert collected(run("--collect-only", "-q", "--tt-model=tiny-llama-scaled")) == [
        "test_model[tiny-llama-scaled]",
        "test_by_way_of_a_fixture[tiny-llama-scaled]",
        "test_layers[tiny-llama-scaled-first]",
        "test_layers[tiny-llama-scaled-middle]",
        "test_layers[tiny-llama-scaled-last]",
        "test_own_layers[tiny-llama-scaled-first-0]",
        "test_own_layers[tiny-llama-scaled-last-7]",
        "test_layer_without_model[1]",
    ]
    assert collected(
        run("--collect-only", "-q", "--tt-model=tiny-llama,tiny-llama-scaled", "--tt-layers=all", "-k", "test_layers")
    ) == [
        *(f"test_layers[tiny-llama-layer{number}]" for number in range(4)),
        *(f"test_layers[tiny-llama-scaled-layer{number}]" for number in range(3)),
    ]


def test_a_projects_own_model_is_left_alone(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_own_fixture="""
        import pytest

        @pytest.fixture
        def model():
            return "own"

        def test_fixture(model):
            assert model == "own"
        """,
        test_own_parameters="""
        import pytest

        @pytest.mark.parametrize("model", ["a", "b"])
        @pytest.mark.stage("demo")
        def test_parameters(model, compare):
            compare.check("own", model in "ab")
        """,
    )
    run().assert_outcomes(passed=3)


def test_the_model_is_loaded_once(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        seen = []

        def test_model(model, layer):
            seen.append(model)
            assert model.name == "tiny-llama"
            assert seen[0] is model
            assert model.reference_layer(layer) is model.reference_layer({"first": 0, "middle": 2, "last": 3}[layer])

        def test_reference(model, reference):
            assert reference is seen[0].reference
            assert not reference.training

        def test_seed(model, request):
            assert model.seed == 5

        def test_reached_behind_pytests_back(request):
            request.getfixturevalue("model")
        """
    )
    result = run("--tt-seed=5")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        ["*the fixture model was reached from test_reached_behind_pytests_back without being named*"]
    )


class TestACorruptModel:
    @pytest.fixture
    def truncated(self, pytester: pytest.Pytester) -> Path:
        path = pytester.path / "broken.gguf"
        path.write_bytes(b"GGUF\x03\x00\x00\x00")
        pytester.makepyfile(
            test_bad="""
            def test_model(model, mesh_device, layer):
                open("opened", "w")

            def test_other():
                pass
            """
        )
        return path

    def test_it_is_refused_before_a_device_opens(self, run: Run, pytester: pytest.Pytester, truncated: Path) -> None:
        result = run(f"--tt-model={truncated}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert len([line for line in result.errlines if line]) == 1
        result.stderr.fnmatch_lines(["ERROR: *broken.gguf*"])
        assert not (pytester.path / "opened").exists()

    def test_also_by_an_xdist_controller(self, run: Run, truncated: Path) -> None:
        pytest.importorskip("xdist")
        result = run(f"--tt-model={truncated}", "-n1")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *broken.gguf*"])
        result.stdout.no_fnmatch_line("*INTERNALERROR*")

    def test_layers_of_it_can_not_be_chosen(self, run: Run, truncated: Path) -> None:
        result = run(f"--tt-model={truncated}", "--tt-layers=0")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *broken.gguf*"])

    def test_tests_without_it_run(self, run: Run, truncated: Path) -> None:
        run(f"--tt-model={truncated}", "-k", "test_other").assert_outcomes(passed=1, deselected=1)
