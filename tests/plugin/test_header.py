"""The line of the report header."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from pytest_ttbringup.targets.emulated import DEFAULT_NUMERICS

from .conftest import Run


def test_the_header_says_which_target_and_why(run: Run, pytester: pytest.Pytester, monkeypatch, no_device) -> None:
    monkeypatch.delenv("TTBRINGUP_TARGET")
    pytester.makepyfile("def test_one(): pass")
    result = run(*no_device)
    expected = (
        f"ttbringup: target emulated (wormhole_b0, n150, mesh 1x1), ttnn {version('ttnn')}, "
        f"numerics {DEFAULT_NUMERICS}; no Tenstorrent device found"
    )
    assert expected in result.outlines


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--tt-target=emulated"], "target emulated (wormhole_b0, n150, mesh 1x1), *; chosen by --tt-target"),
        (["--tt-numerics=bitexact"], "target emulated (*), ttnn *, numerics bitexact; *"),
        (["--tt-precision=accuracy"], "target emulated (*), ttnn *, numerics *, precision accuracy; *"),
        (["--tt-system=p150"], "target emulated (blackhole, p150, mesh 1x1), *; chosen by TTBRINGUP_TARGET"),
    ],
)
def test_who_chose_the_target(run: Run, pytester: pytest.Pytester, arguments: list[str], line: str) -> None:
    pytester.makepyfile("def test_one(): pass")
    result = run(*arguments)
    result.stdout.fnmatch_lines([f"ttbringup: {line}"])
    result.assert_outcomes(passed=1)


def test_no_header_under_q(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(): pass")
    result = run("-q")
    result.stdout.no_fnmatch_line("ttbringup: *")
    result.assert_outcomes(passed=1)  # so it is not silent because it stopped
