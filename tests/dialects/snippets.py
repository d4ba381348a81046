"""The snippets of the page about existing clients, pointed at a server of the tests."""

from __future__ import annotations

import warnings
from typing import Any

from tests.docs.pages import blocks
from tests.server.rooms import Room

PLACE, VOICE = "127.0.0.1:6008", '"boris"'


def snippet(mark: str, room: Room) -> dict[str, Any]:
    """What the names in the snippet that contains ``mark`` stand for after it has run."""
    [text] = [b.text for b in blocks("python") if b.page == "clients.md" and mark in b.text]
    text = text.replace(PLACE, room.url.rpartition("/")[2]).replace(VOICE, '"anna"')
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of libraries about libraries
        exec(compile(text, mark, "exec"), names)
    return names
