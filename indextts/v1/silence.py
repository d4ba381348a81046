"""Long silences between words, shortened as they come (specification 5).

Upstream shortens them once all codes are known. Here sound leaves before that, so a silence is
shortened from the moment on that upstream would have found the chunk worth it.
"""

from __future__ import annotations

SILENT_CODE = 52
LONGEST = 10
"""Codes of a silence that are kept."""
TOLERATED = 30
"""Silent codes of a chunk before any is dropped."""


class SilenceFilter:
    """Decides code by code; streamed and unstreamed speech keep the same ones."""

    def __init__(self) -> None:
        self._run = self._total = 0

    def keeps(self, code: int) -> bool:
        """Whether the next ``code`` is vocoded."""
        silent = code == SILENT_CODE
        self._run = self._run + 1 if silent else 0
        self._total += silent
        return self._run <= LONGEST or self._total <= TOLERATED
