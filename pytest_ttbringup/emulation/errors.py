"""What the emulated device says when it can't give an honest value."""

from __future__ import annotations

from pytest_ttbringup.errors import BringupError


class EmulationError(BringupError, RuntimeError):
    """A read, operation or call for which the emulated device has no true answer.

    Also a `RuntimeError`, as TT-NN's own refusals are, so that code which expects those sees one here too.
    """


class EmulationWarning(UserWarning):
    """The emulated device does as the hardware does, which is hardly what was meant."""
