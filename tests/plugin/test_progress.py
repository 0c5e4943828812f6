"""The fixture `progress`: a line now and then, past pytest's capture."""

from __future__ import annotations

import pytest

from .conftest import Run

TEST = """
    import pytest
    from pytest_ttbringup.fixtures.progress import Progress

    @pytest.mark.parametrize("every", [0, 1000])
    def test_one(request, every):
        tell = Progress(request.config, every=every)
        print("captured")
        tell(f"step 1, every {every}")
        tell(f"step 2, every {every}")

    def test_fixture(progress):
        progress("too soon")
"""


def test_lines_are_shown_at_most_once_in_a_while(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    text = run().stdout.str()
    assert "\n  step 1, every 0\n  step 2, every 0\n" in text
    assert not [word for word in ("every 1000", "too soon", "captured") if word in text]


@pytest.mark.parametrize("arguments", [["-q"], ["-n1"]], ids=["quiet", "xdist"])
def test_silence(run: Run, pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile(TEST)
    result = run(*arguments)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*step 1*")
