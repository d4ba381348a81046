"""The result of comparing one thing of ours with a golden value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of a parity table.

    ``max_error`` is in the unit of what is compared: absolute difference of arrays, number of
    differing cases of texts. An ``informative`` row is printed and never judged.
    """

    name: str
    max_error: float
    tolerance: float
    ok: bool
    informative: bool = False
    detail: str = ""
