"""What a run leaves behind: records of each test, and the board at its end."""

from __future__ import annotations
