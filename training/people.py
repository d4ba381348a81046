"""Who speaks in the corpus: the named speakers of the checkpoint and, seldom, passers-by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """How a speaker differs from the teacher's own voice."""

    f0_scale: float = 1.0
    size: float = 1.0
    """Factor on all frequencies, F0 included: a vocal tract 1 / ``size`` times as long."""


SPEAKERS: dict[str, Warp] = {
    "ada": Warp(),
    "boris": Warp(f0_scale=0.9, size=0.76),
    "clara": Warp(size=0.87),
    "dana": Warp(size=1.18),
}
PASSERS_BY = 40
EVERY = 4
"""One of so many sentences is spoken by a passer-by."""


def everybody(seed: int = 11) -> list[Warp]:
    """The named speakers and the passers-by, through whom voices beyond those four are known."""
    rng = np.random.default_rng(seed)
    sizes, scales = rng.uniform(0.74, 1.2, PASSERS_BY), rng.uniform(0.82, 1.12, PASSERS_BY)
    others = [Warp(f0_scale=float(f), size=float(s)) for f, s in zip(scales, sizes, strict=True)]
    return [*SPEAKERS.values(), *others]


def speaker_of(index: int) -> int:
    """Who speaks the sentence ``index``: the named speakers in turn, now and then a passer-by."""
    turn, slot = divmod(index, EVERY)
    if slot == EVERY - 1:
        return len(SPEAKERS) + turn % PASSERS_BY
    return (turn * (EVERY - 1) + slot) % len(SPEAKERS)
