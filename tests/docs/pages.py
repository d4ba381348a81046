"""The pages, and the blocks, tables and links in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; ``language`` is what stands behind its first fence."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text[:40]!r}"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def blocks(*languages: str) -> list[Block]:
    return [
        Block(page=page.name, language=language, text=text)
        for page in PAGES
        for language, text in _FENCE.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page.read_text(encoding="utf-8")))


def rows(name: str, heading: str) -> Iterator[tuple[str, ...]]:
    """Cells of the tables under a heading, header and ruler left out."""
    section = re.split(rf"^#+ {re.escape(heading)}$", read(name), flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", prose(section), maxsplit=1, flags=re.MULTILINE)[0]
    for table in re.findall(r"(?:^\|.*\|\n?)+", section, flags=re.MULTILINE):
        for row in _ROW.findall(table)[2:]:
            yield tuple(cell.strip() for cell in row.split("|"))


def code(cell: str) -> list[str]:
    """What a cell puts between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def anchor(heading: str) -> str:
    """The anchor a heading gets on GitHub, for plain words."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
