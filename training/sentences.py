"""English texts to learn from.

Sentences of fortunes, the King James Bible, WordNet and a grammar of everyday phrases; for reading,
also strings of frequent words, and what a chunker makes of all of them: beginnings and ends of
sentences, several sentences together, single words.
"""

from __future__ import annotations

import itertools
import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.harvard import HARVARD
from bench.mixed import MIXED
from training.phrases import everyday

FORTUNES = Path("/usr/share/games/fortunes")
WORDNET = Path("/usr/share/wordnet")
PLAIN = re.compile(r"^[A-Z][A-Za-z',\- ]*[.?!]$")
SHOUTED = re.compile(r"[A-Z]{3}")
WORDS = re.compile(r"[A-Za-z]['A-Za-z\- ,]*[A-Za-z][.?!]?")
FREQUENT = 10_000
"""Words of the language that are to be read, the most frequent ones; no text has others."""
GLUE = [
    *("the", "the", "the", "a", "a", "an", "of", "of", "to", "to", "and", "and", "in", "in", "is"),
    *("it", "that", "for", "was", "on", "with", "as", "at", "by", "from", "this", "be", "are"),
    *("his", "her", "they", "have", "had", "not", "but", "or", "which", "you", "we", "can", "will"),
    *("one", "my", "your", "their", "has", "were"),
]
LONGEST = 118
"""Characters of the longest text for reading; a chunk of a request must not be longer."""
ALONE, JOINED, CUT = 0.05, 0.2, 0.36
"""Shares of the texts for reading that are a word or two, several sentences, or a piece of one."""
MARKS = ("", "", "", ",", ",", ".", "?", "!")
"""How a piece of a sentence may end."""


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


def _wordnet() -> Iterator[str]:
    """Definitions and examples of the Debian package ``wordnet-base``."""
    for path in sorted(WORDNET.glob("data.*")):
        for line in path.read_text(encoding="ascii").splitlines():
            gloss = re.sub(r"\([^)]*\)", " ", line.partition(" | ")[2])
            for part in re.split(r'[;:"]', gloss):
                text = re.sub(r"\s+", " ", part).strip(" ,-")
                if len(text) > 8 and WORDS.fullmatch(text):
                    yield text


def _frequent() -> list[str]:
    from wordfreq import top_n_list

    words: list[str] = top_n_list("en", FREQUENT)
    return words


def _common(texts: Iterable[str]) -> list[str]:
    """``texts`` of frequent words alone."""
    known = {"", *_frequent()}

    def spoken(text: str) -> Iterator[str]:
        for word in re.findall(r"[a-z']+", text.lower()):
            yield word.strip("'").removesuffix("'s")

    return [text for text in texts if known.issuperset(spoken(text))]


def _strings(rng: random.Random, count: int) -> Iterator[str]:
    """``count`` strings of words, less frequent ones seldom, glued by the commonest."""
    words = [w for w in _frequent() if re.fullmatch(r"[a-z]+('[a-z]+)?", w)]
    weights = list(itertools.accumulate(rank**-0.5 for rank in range(2, len(words) + 2)))
    for _ in range(count):
        spoken: list[str] = []
        for word in rng.choices(words, cum_weights=weights, k=rng.randint(1, 9)):
            spoken += [rng.choice(GLUE)] * (rng.random() < 0.45) + [word]
            spoken[-1] += "," * (rng.random() < 0.06)
        yield " ".join(spoken).strip(",")


def _piece(rng: random.Random, text: str) -> str:
    """Some words of ``text`` in a row, most often its first ones, with any mark or none."""
    words = text.split()
    first = 0 if rng.random() < 0.5 else rng.randrange(len(words))
    count = rng.randint(1, len(words) - first)
    last = first + count == len(words) and rng.random() < 0.5
    piece = " ".join(words[first : first + count])
    return piece if last else piece.rstrip(".,?!") + rng.choice(MARKS)


def _several(rng: random.Random, texts: Sequence[str], text: str) -> str:
    """``text`` and further sentences as long as they fit."""
    for _ in range(rng.randint(1, 4)):
        other = rng.choice(texts)
        text = text if text[-1] in ".?!" else text + rng.choice(".,?!")
        other = other if text[-1] == "," else other[0].upper() + other[1:]
        if len(text) + len(other) < LONGEST:
            text = f"{text} {other}"
    return text


def readings(count: int, *, seed: int = 1) -> Iterator[str]:
    """``count`` texts of every shape that a request or a chunk of it may have."""
    rng = random.Random(seed)
    share = count // 4
    fortunes = _common(_clean(_fortunes(), LONGEST))
    verses = _common(_clean(_bible(), LONGEST))
    glosses = _common(text for text in _wordnet() if len(text) < LONGEST)
    whole = [
        *rng.sample(fortunes, min(share, len(fortunes))),
        *rng.sample(verses, min(share // 4, len(verses))),
        *rng.sample(glosses, min(share + share // 4, len(glosses))),
        *everyday(rng, share),
        *_strings(rng, share + share // 4),
    ]
    texts = [text for text in whole if bare(text) not in JUDGED]
    for _ in range(count):
        text, kind = rng.choice(texts), rng.random()
        if kind < ALONE:
            words = rng.choice(texts).split()[: rng.randint(1, 2)]
            yield " ".join(words).strip(".,?!") + rng.choice(MARKS)
        elif kind < ALONE + JOINED:
            yield _several(rng, texts, text)
        elif kind < ALONE + JOINED + CUT:
            yield _piece(rng, text)
        else:
            yield text
