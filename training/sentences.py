"""English sentences to learn from: fortunes, the King James Bible, generated everyday phrases."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.harvard import HARVARD
from bench.mixed import MIXED
from training.phrases import everyday

FORTUNES = Path("/usr/share/games/fortunes")
PLAIN = re.compile(r"^[A-Z][A-Za-z',\- ]*[.?!]$")
SHOUTED = re.compile(r"[A-Z]{3}")


def bare(text: str) -> str:
    """The letters of ``text``, in lower case: what makes two sentences the same."""
    return re.sub(r"[^a-z]", "", text.lower())


JUDGED = frozenset(
    bare(text) for text in (*HARVARD, *(t for one in MIXED for t in (one.text, one.spoken)))
)
"""What the judge asks for, which no model may have learnt."""


def _fortunes() -> Iterator[str]:
    """Sentences of the Debian package ``fortunes``."""
    for path in sorted(p for p in FORTUNES.iterdir() if not p.suffix and p.is_file()):
        for quote in path.read_text(encoding="utf-8", errors="ignore").split("\n%"):
            body = re.sub(r"\n\s*--.*", "", quote, flags=re.DOTALL)
            body = re.sub(r"\s+", " ", body)
            yield from re.split(r"(?<=[.!?])[\"')\]]*\s+", body)


def _bible() -> Iterator[str]:
    """Sentences of the Debian package ``bible-kjv``."""
    printed = subprocess.run(
        ["bible", "-f"], input="gen1:1-rev22:21\nq\n", capture_output=True, text=True, check=True
    ).stdout
    for line in printed.splitlines():
        verse = re.match(r"\s*\S+?\d+:\d+\s+(.*)", line)
        for part in re.split(r"(?<=[.!?;:])\s+", verse.group(1)) if verse else ():
            if part:
                yield part[0].upper() + re.sub(r"[;:,]$", ".", part[1:])


def _clean(source: Iterator[str], longest: int) -> Iterator[str]:
    for raw in source:
        text = re.sub(r"\s+", " ", raw.replace("--", ", ")).strip()
        if 3 <= len(text) <= longest and PLAIN.match(text) and not SHOUTED.search(text):
            yield text


def sentences(*, generated: int, longest: int = 110, seed: int = 0) -> list[str]:
    """Distinct shuffled sentences of at most ``longest`` characters, ``generated`` of them made."""
    rng = random.Random(seed)
    found = dict.fromkeys(_clean(_fortunes(), longest))
    found |= dict.fromkeys(_clean(_bible(), longest))
    found |= dict.fromkeys(everyday(rng, generated))
    texts = [text for text in found if bare(text) not in JUDGED]
    rng.shuffle(texts)
    return texts


def with_pairs(texts: list[str], *, longest: int = 160, every: int = 6, seed: int = 0) -> list[str]:
    """``texts`` where every ``every``-th is joined with another one if both fit in ``longest``."""
    rng = random.Random(seed)
    joined = []
    for index, text in enumerate(texts):
        other = texts[rng.randrange(len(texts))]
        fits = index % every == 0 and len(text) + len(other) < longest
        joined.append(f"{text} {other}" if fits else text)
    return joined
