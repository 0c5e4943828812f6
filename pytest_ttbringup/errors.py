"""The one exception type of the plugin."""

from __future__ import annotations


class BringupError(Exception):
    """A wrong input or set-up.

    The message is for users: whole sentences that name the value, what is allowed, and the fix.
    """
