from __future__ import annotations

import gc

import pytest

from pytest_ttbringup.quick_imports import quick_imports


def test_the_collector_rests_inside_and_passes_over_what_was_imported() -> None:
    gc.unfreeze()
    try:
        with quick_imports():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_failing_import_switches_the_collector_on_again() -> None:
    with pytest.raises(ModuleNotFoundError), quick_imports():
        import no_such_package  # noqa: F401
    assert gc.isenabled()
    gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        frozen = gc.get_freeze_count()
        with quick_imports():
            pass
        assert not gc.isenabled()
        assert gc.get_freeze_count() == frozen
    finally:
        gc.enable()


def test_ttnn_is_still_collected_at_the_exit(pytester: pytest.Pytester) -> None:
    """Nanobind prints what leaked when its own module ends, and that would be all of ttnn."""
    pytester.makepyfile(
        script="""
        from pytest_ttbringup.quick_imports import quick_imports
        with quick_imports():
            import ttnn
        """
    )
    run = pytester.runpython("script.py")
    assert run.ret == 0
    assert "leaked" not in run.stderr.str()
